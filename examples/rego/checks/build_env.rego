# METADATA
# title: Leave files of the build machine there
# custom:
#   id: SHOP-2
#   severity: MEDIUM
#   input:
#     selector:
#       - type: dockerfile
package user.shop.build_env

import rego.v1

import data.lib.commands

deny contains res if {
	some copy in commands.named("copy")
	some source in array.slice(copy.Value, 0, count(copy.Value) - 1)
	startswith(source, "build-")
	res := result.new(sprintf("%s is of the build machine", [source]), copy)
}
