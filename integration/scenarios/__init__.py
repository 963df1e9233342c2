"""The scenarios, a topic a module. `../run --list` names them."""
