//! A Dockerfile as Trivy's and as conftest's checks see it.
//!
//! Both show BuildKit's own tree, so what an instruction's `Value` holds follows BuildKit's parser: one text for the
//! shell form, the words for lists and the JSON form, `name`, `value`, `=` for each pair of `ENV` and `LABEL`.

use seatrial_dockerfile::{
    Parsed,
    ast::{Args, Flag, Heredoc, Instruction, Keyword},
};
use seatrial_policy::rego::Form;
use serde_json::{Value, json};

/// What checks call the file: a submission has no path.
pub const PATH: &str = "Dockerfile";

/// What checks of a form see of a file.
#[must_use]
pub fn input(form: Form, parsed: &Parsed) -> Value {
    match form {
        Form::Trivy => trivy(parsed),
        Form::Conftest => conftest(parsed),
    }
}

fn trivy(parsed: &Parsed) -> Value {
    let mut stages: Vec<Value> = Vec::new();
    // What stands before the first FROM is a stage without a name.
    let (mut name, mut commands) = (String::new(), Vec::new());
    let mut stage = 0;
    let mut has_from = false;
    let mut close = |name: &str, commands: &mut Vec<Value>| {
        if !commands.is_empty() {
            stages.push(json!({"Name": name, "Commands": std::mem::take(commands)}));
        }
    };
    for instruction in &parsed.dockerfile.instructions {
        let original = &instruction.logical.text;
        if instruction.keyword == Keyword::From {
            close(&name, &mut commands);
            stage += usize::from(has_from);
            has_from = true;
            original
                .strip_prefix("FROM ")
                .unwrap_or(original)
                .trim()
                .clone_into(&mut name);
        }
        let (sub, inner) = unwrapped(parsed, instruction);
        let documents = &instruction.heredocs;
        let (original, value) = match value(inner) {
            Value::Array(words) if !documents.is_empty() && !words.is_empty() => {
                let first = words[0].as_str().unwrap_or_default();
                (with_bodies(original, documents), json!([script(first, documents)]))
            }
            value => (original.clone(), value),
        };
        commands.push(json!({
            "Cmd": instruction.name,
            "SubCmd": sub,
            "Flags": flags(&instruction.flags),
            "Value": value,
            "Original": original,
            "JSON": inner.json_form(),
            "Stage": stage,
            "Path": PATH,
            "StartLine": instruction.first_line,
            "EndLine": instruction.last_line,
        }));
    }
    close(&name, &mut commands);
    json!({"Stages": stages})
}

fn conftest(parsed: &Parsed) -> Value {
    let file = &parsed.dockerfile;
    let mut commands: Vec<Value> = Vec::new();
    let mut stages = 0_usize;
    for instruction in &file.instructions {
        stages += usize::from(instruction.keyword == Keyword::From);
        let stage = stages.saturating_sub(1);
        for comment in file.comments.get(instruction.comments.clone()).unwrap_or_default() {
            // Those between continued lines are dropped, as BuildKit drops them.
            if comment.line < instruction.first_line {
                commands.push(json!({
                    "Cmd": "comment",
                    "SubCmd": "",
                    "JSON": false,
                    "Flags": [],
                    "Value": [comment.text],
                    "Stage": stage,
                }));
            }
        }
        let (sub, inner) = unwrapped(parsed, instruction);
        commands.push(json!({
            "Cmd": instruction.name,
            "SubCmd": sub,
            "JSON": inner.json_form(),
            "Flags": flags(&instruction.flags),
            "Value": value(inner),
            "Stage": stage,
        }));
    }
    // Its parser puts this list into another one, whose entries it shows to the checks one by one.
    commands.into()
}

/// The keyword behind an `ONBUILD` as it is written, and the instruction whose words count.
fn unwrapped<'a>(parsed: &'a Parsed, instruction: &'a Instruction) -> (&'a str, &'a Instruction) {
    match instruction.trigger() {
        Some(trigger) => (parsed.slice(trigger.keyword_span), trigger),
        None => ("", instruction),
    }
}

/// An empty list where there is none, for a check may go through it: in OPA nothing comes out of `null` either, but
/// the interpreter ends at it.
fn flags(flags: &[Flag]) -> Value {
    let written = flags.iter().map(|flag| match &flag.value {
        Some(value) => format!("--{}={value}", flag.name),
        None => format!("--{}", flag.name),
    });
    written.collect()
}

fn value(instruction: &Instruction) -> Value {
    words(&instruction.args, instruction.keyword).into()
}

fn words(args: &Args, keyword: Keyword) -> Vec<String> {
    match args {
        Args::None | Args::Trigger(_) => Vec::new(),
        Args::Text(word) => vec![word.value.clone()],
        Args::Json(words) | Args::List(words) => words.iter().map(|word| word.value.clone()).collect(),
        Args::Pairs(pairs) if keyword == Keyword::Arg => pairs
            .iter()
            .map(|pair| match &pair.value {
                Some(value) => format!("{}={}", pair.name.value, value.value),
                None => pair.name.value.clone(),
            })
            .collect(),
        Args::Pairs(pairs) => pairs
            .iter()
            .flat_map(|pair| {
                let value = pair.value.as_ref().map_or("", |value| &*value.value);
                [&*pair.name.value, value, if pair.equals { "=" } else { "" }].map(str::to_owned)
            })
            .collect(),
        Args::Health(health) => {
            let mut all = vec![health.kind.value.clone()];
            all.extend(words(&health.command, keyword));
            all
        }
    }
}

/// The instruction with the bodies of its here-documents.
fn with_bodies(original: &str, documents: &[Heredoc]) -> String {
    let bodies: Vec<String> = documents
        .iter()
        .map(|document| format!("{}{}", document.body, document.delimiter))
        .collect();
    format!("{original}\n{}", bodies.join("\n"))
}

/// What is run: the lines of a document that is the whole command, one after another; else all as it stands.
fn script(first: &str, documents: &[Heredoc]) -> String {
    let is_whole = first.starts_with("<<") && !first.contains(char::is_whitespace);
    match documents {
        [document, ..] if is_whole && !document.body.starts_with("#!") => {
            let lines = document.content().replace("\r\n", "\n");
            let lines: Vec<&str> = lines.strip_suffix('\n').unwrap_or(&lines).split('\n').collect();
            lines.join(" ; ")
        }
        _ => documents.iter().fold(first.to_owned(), |mut all, document| {
            all.push('\n');
            all.push_str(&document.body);
            all.push_str(&document.delimiter);
            all
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(form: Form, text: &str) -> Value {
        input(form, &seatrial_dockerfile::parse(text.as_bytes()))
    }

    #[test]
    fn trivy_sees_stages_by_the_text_behind_from_with_lines() {
        let seen = of(
            Form::Trivy,
            "ARG V=1\nFROM debian:$V AS one\nENV a=1 b=\"2 3\"\nFROM scratch\nCOPY --from=one --chown=1 /a /b\nCMD [\"x\", \"y\"]\n",
        );
        assert_eq!(seen["Stages"][0]["Name"], "");
        assert_eq!(seen["Stages"][0]["Commands"][0]["Value"], json!(["V=1"]));
        assert_eq!(seen["Stages"][1]["Name"], "debian:$V AS one");
        assert_eq!(
            seen["Stages"][1]["Commands"][1],
            json!({
                "Cmd": "env", "SubCmd": "", "Flags": [], "Value": ["a", "1", "=", "b", "\"2 3\"", "="],
                "Original": "ENV a=1 b=\"2 3\"", "JSON": false, "Stage": 0, "Path": "Dockerfile",
                "StartLine": 3, "EndLine": 3,
            })
        );
        let copy = &seen["Stages"][2]["Commands"][1];
        assert_eq!(copy["Flags"], json!(["--from=one", "--chown=1"]));
        assert_eq!((&copy["Value"], &copy["Stage"]), (&json!(["/a", "/b"]), &json!(1)));
        let cmd = &seen["Stages"][2]["Commands"][2];
        assert_eq!((&cmd["Value"], &cmd["JSON"]), (&json!(["x", "y"]), &json!(true)));
    }

    #[test]
    fn continued_lines_are_one_text_and_documents_are_scripts() {
        let seen = of(
            Form::Trivy,
            "FROM a\nRUN apt-get update \\\n  && apt-get install -y x\nRUN <<EOF\nfirst\nsecond\nEOF\nONBUILD RUN make\n",
        );
        let commands = &seen["Stages"][0]["Commands"];
        assert_eq!(
            commands[1]["Value"],
            json!(["apt-get update   && apt-get install -y x"])
        );
        assert_eq!(
            (&commands[1]["StartLine"], &commands[1]["EndLine"]),
            (&json!(2), &json!(3))
        );
        assert_eq!(commands[2]["Value"], json!(["first ; second"]));
        assert_eq!(commands[3]["SubCmd"], "RUN");
        assert_eq!(commands[3]["Value"], json!(["make"]));
    }

    #[test]
    fn conftest_sees_one_flat_list_with_comments() {
        let seen = of(
            Form::Conftest,
            "# why\nFROM a AS b\nRUN --network=none true\nFROM b\nHEALTHCHECK CMD curl x\n",
        );
        let commands = &seen;
        assert_eq!(commands[0]["Cmd"], "comment");
        assert_eq!(commands[0]["Value"], json!(["why"]));
        assert_eq!(commands[1]["Value"], json!(["a", "AS", "b"]));
        assert_eq!(commands[2]["Flags"], json!(["--network=none"]));
        assert_eq!(commands[3]["Stage"], 1);
        assert_eq!(commands[4]["Value"], json!(["CMD", "curl x"]));
        assert!(commands[2].get("StartLine").is_none());
    }
}
