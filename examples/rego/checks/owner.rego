# METADATA
# title: Say whose the image is
# custom:
#   id: SHOP-1
#   severity: HIGH
#   input:
#     selector:
#       - type: dockerfile
package user.shop.owner

import rego.v1

import data.lib.commands

has_owner if {
	some label in commands.named("label")
	some word in label.Value
	trim(word, "\"") == "org.example.team"
}

deny contains res if {
	not has_owner
	some last in commands.named("from")
	res := result.new("There is no LABEL org.example.team", last)
}
