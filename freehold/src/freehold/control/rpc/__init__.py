"""The gRPC edge: one small class per resource, each method named as on the wire."""
