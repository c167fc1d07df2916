"""The HTTP side: routes over one `Front`, which knows the models and carries items to them."""
