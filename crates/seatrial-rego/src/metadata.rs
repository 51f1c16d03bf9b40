//! What a check says of itself in the comment before its package.
//!
//! Only what we show or decide by is read, line by line: no YAML parser looks at the operator's comments.

/// What a check says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) id: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) severity: Option<String>,
    /// The kinds of files that it is for; none: all.
    pub(crate) kinds: Vec<String>,
}

/// Reads the `# METADATA` comment that stands before `package`.
pub(crate) fn read(text: &str) -> Metadata {
    let mut block: Option<Vec<&str>> = None;
    for line in text.lines() {
        let line = line.trim_end();
        match (line.strip_prefix('#'), &mut block) {
            (Some(comment), _) if comment.trim() == "METADATA" => block = Some(Vec::new()),
            (Some(comment), Some(lines)) => lines.push(comment.strip_prefix(' ').unwrap_or(comment)),
            (Some(_), None) => {}
            (None, _) if line.is_empty() => {}
            (None, _) if line.starts_with("package") => return block.map(|lines| of(&lines)).unwrap_or_default(),
            // It was about something else.
            (None, _) => block = None,
        }
    }
    Metadata::default()
}

fn of(lines: &[&str]) -> Metadata {
    let mut found = Metadata::default();
    let mut avd_id = None;
    let mut section = "";
    // Where the keys below `custom` stand.
    let mut depth = None;
    let mut is_input = false;
    for line in lines {
        let indent = line.len() - line.trim_start().len();
        let (key, value) = line.trim_start().split_once(':').unwrap_or((line.trim(), ""));
        if indent == 0 && !line.starts_with('-') {
            section = key;
            depth = None;
            is_input = false;
            if key == "title" {
                found.title = plain(value);
            }
            continue;
        }
        if section != "custom" {
            continue;
        }
        if indent == *depth.get_or_insert(indent) {
            is_input = key == "input";
            match key {
                "id" => found.id = plain(value),
                "avd_id" => avd_id = plain(value),
                "severity" => found.severity = plain(value),
                _ => {}
            }
        }
        if is_input {
            found.kinds.extend(kinds(line));
        }
    }
    found.id = found.id.or(avd_id);
    found
}

/// What follows each `type:` of a line, which may also be `selector: [{type: dockerfile}]`.
fn kinds(line: &str) -> impl Iterator<Item = String> {
    let starts = line.match_indices("type:").filter(|(at, _)| {
        let before = line.get(..*at).unwrap_or_default().chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_')
    });
    starts.filter_map(|(at, key)| {
        let rest = line.get(at + key.len()..)?;
        plain(rest.split([',', '}', ']']).next()?)
    })
}

fn plain(value: &str) -> Option<String> {
    let value = value.trim().trim_matches(['"', '\'']).trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_before_the_package_is_read() {
        let text = "# Licence\n\n# METADATA\n# title: \"No tools\"\n# description: |\n#   custom:\n# schemas:\n#   - input: schema[\"dockerfile\"]\n# custom:\n#   id: SHOP-1\n#   avd_id: AVD-SHOP-0001\n#   severity: HIGH\n#   frameworks:\n#     id: x\n#   input:\n#     selector:\n#       - type: dockerfile\npackage user.shop\n";
        let found = read(text);
        assert_eq!(found.id.as_deref(), Some("SHOP-1"));
        assert_eq!(found.title.as_deref(), Some("No tools"));
        assert_eq!(found.severity.as_deref(), Some("HIGH"));
        assert_eq!(found.kinds, ["dockerfile"]);
    }

    #[test]
    fn a_selector_in_one_line_is_read_and_a_comment_of_a_rule_is_not() {
        let text = "# METADATA\n# custom:\n#   input:\n#     selector: [{type: kubernetes}, {\"type\": x, subtype: y}]\npackage a\n# METADATA\n# title: rule\ndeny := 1\n";
        let found = read(text);
        assert_eq!(found.kinds, ["kubernetes"]);
        assert_eq!(found.title, None);
        assert_eq!(
            read("# METADATA\n# title: x\nimport rego.v1\npackage a\n"),
            Metadata::default()
        );
        assert_eq!(read(""), Metadata::default());
    }
}
