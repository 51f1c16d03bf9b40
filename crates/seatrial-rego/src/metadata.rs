//! What a check says of itself in the comment before its package.
//!
//! It is YAML, as for OPA and Trivy. What cannot be read is a failure: it could say that the check is for other files.

use serde_json::Value;

/// What a check says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) id: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) severity: Option<String>,
    /// The kinds of files that it is for; none: all.
    pub(crate) kinds: Vec<String>,
    /// It asks for all files in one input.
    pub(crate) combines: bool,
}

/// Reads the `# METADATA` comment that stands before `package`.
///
/// # Errors
/// It is no YAML.
pub(crate) fn read(text: &str) -> Result<Metadata, String> {
    let mut block: Option<String> = None;
    let mut is_open = false;
    for line in text.lines() {
        let line = line.trim_end();
        match (line.strip_prefix('#'), &mut block) {
            (Some(comment), _) if comment.trim() == "METADATA" => {
                block = Some(String::new());
                is_open = true;
            }
            (Some(comment), Some(block)) if is_open => {
                block.push_str(comment);
                block.push('\n');
            }
            (Some(_), _) => {}
            (None, _) if line.is_empty() => is_open = false,
            (None, Some(block)) if line.starts_with("package") => return of(block),
            (None, _) if line.starts_with("package") => return Ok(Metadata::default()),
            // It was about something else.
            (None, _) => block = None,
        }
    }
    Ok(Metadata::default())
}

fn of(block: &str) -> Result<Metadata, String> {
    let said: Value = yaml_serde::from_str(block).map_err(|why| format!("its METADATA is no YAML: {why}"))?;
    let custom = &said["custom"];
    let input = &custom["input"];
    Ok(Metadata {
        id: word(&custom["id"]).or_else(|| word(&custom["avd_id"])),
        title: word(&said["title"]),
        severity: word(&custom["severity"]),
        kinds: kinds(&input["selector"]),
        combines: input["combine"] == true,
    })
}

/// The kinds that a selector names; none, so all, when it cannot be understood: a check too many is not a check missed.
pub(crate) fn kinds(selector: &Value) -> Vec<String> {
    let kinds = selector.as_array().into_iter().flatten().map(|one| word(&one["type"]));
    kinds.collect::<Option<_>>().unwrap_or_default()
}

pub(crate) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_before_the_package_is_read() {
        let text = "# Licence\n\n# METADATA\n# title: \"No tools\" # ours\n# description: |\n#   custom:\n# schemas:\n#   - input: schema[\"dockerfile\"]\n#\n# custom:\n#   id: SHOP-1\n#   avd_id: AVD-SHOP-0001\n#\n#   severity: HIGH # as agreed\n#   frameworks:\n#     id: x\n#   input:\n#     selector:\n#       - type: dockerfile # ours\n\n# not: {of it\npackage user.shop\n";
        assert_eq!(
            read(text),
            Ok(Metadata {
                id: Some("SHOP-1".to_owned()),
                title: Some("No tools".to_owned()),
                severity: Some("HIGH".to_owned()),
                kinds: vec!["dockerfile".to_owned()],
                combines: false,
            })
        );
    }

    #[test]
    fn a_selector_is_read_in_each_form_of_yaml_and_one_that_is_not_understood_leaves_nothing_out() {
        let said = |input: &str| read(&format!("# METADATA\n# custom:\n#   input: {input}\npackage a\n")).unwrap();
        assert_eq!(
            said("{selector: [{type: kubernetes}, {\"type\": 'dockerfile', subtype: y}]}").kinds,
            ["kubernetes", "dockerfile"]
        );
        for unclear in [
            "{selector: [{type: kubernetes}, {types: [dockerfile]}]}",
            "{selector: [{type: kubernetes}, {type: {a: b}}]}",
            "{selector: dockerfile}",
            "7",
        ] {
            assert_eq!(said(unclear), Metadata::default(), "{unclear}");
        }
        assert!(said("{combine: true}").combines);
    }

    #[test]
    fn what_is_no_yaml_is_a_failure_and_what_is_about_a_rule_is_not_about_the_check() {
        let why = read("# METADATA\n# custom: [\npackage a\n").unwrap_err();
        assert!(why.contains("no YAML"), "{why}");
        for other in [
            "package a\n# METADATA\n# title: rule\ndeny := 1\n",
            "# METADATA\n# title: x\nimport rego.v1\npackage a\n",
            "",
        ] {
            assert_eq!(read(other), Ok(Metadata::default()), "{other}");
        }
    }
}
