"""The control plane: services change state, controllers compare desired with actual, rpc speaks to modal clients."""
