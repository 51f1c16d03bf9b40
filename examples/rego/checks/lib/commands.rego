package lib.commands

import rego.v1

# The commands with this keyword, in lower case.
named(keyword) := {cmd |
	some stage in input.Stages
	some cmd in stage.Commands
	cmd.Cmd == keyword
}
