"""HTTP ingress: which function a host or path means, and the way of a request to its container and back."""
