"""Messages: Modal's, from the installed modal_proto, read into domain values; and ours, between control plane and worker."""
