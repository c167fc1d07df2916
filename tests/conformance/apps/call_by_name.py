"""Calls a deployed function from a process that knows only names."""

import sys

import modal

app_name, function_name, *numbers = sys.argv[1:]
function = modal.Function.from_name(app_name, function_name)
print(function.remote(*[int(number) for number in numbers]))
