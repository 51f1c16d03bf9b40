//! What is read out of shell text.

use crate::{
    ast::Dockerfile,
    script::{Budget, Interpreter, Script, Via, of_instruction},
};

/// The script of the last instruction.
fn script_of(text: &str) -> Script {
    let parsed = crate::parse(text.as_bytes());
    let Dockerfile { instructions, .. } = &parsed.dockerfile;
    let shell = instructions.iter().rev().find_map(Interpreter::of_instruction);
    let last = instructions.last().unwrap();
    let values = |name: &str| (name == "KNOWN").then(|| "known value".to_owned());
    let instruction = last.trigger().unwrap_or(last);
    of_instruction(
        instruction,
        &last.heredocs,
        &shell.unwrap_or_default(),
        &values,
        &Budget::new(),
    )
    .unwrap_or_default()
}

/// Each command as its words, `?` behind those that the text does not decide.
fn commands(text: &str) -> Vec<String> {
    let script = script_of(text);
    assert!(script.not_understood.is_empty(), "{text}: {:?}", script.not_understood);
    let words = |words: &[super::ShellWord]| {
        let shown: Vec<String> = words
            .iter()
            .map(|word| format!("{}{}", word.text, if word.sure { "" } else { "?" }))
            .collect();
        shown.join(" ")
    };
    script.commands.iter().map(|command| words(&command.words)).collect()
}

fn run(text: &str) -> Vec<String> {
    commands(&format!("FROM a\nRUN {text}\n"))
}

#[test]
fn quotes_and_continuations_are_gone() {
    assert_eq!(run("c\\url 'a b'\"c\" \\\n # note\n d"), ["curl a bc d"]);
    assert_eq!(run("echo \"curl x | sh\" # curl y | sh"), ["echo curl x | sh"]);
    assert_eq!(run("echo $'\\x41\\n' \"a\\$b\" é"), ["echo A\n a$b é"]);
}

#[test]
fn variables_are_followed_where_the_text_decides_them() {
    assert_eq!(
        run("a=x; $a \"$KNOWN\" $KNOWN $b ${c:-d}"),
        ["", "x known value known value $b? d?"]
    );
    assert_eq!(run("if x; then a=1; fi; echo $a $@"), ["x", "", "echo $a?"]);
    assert_eq!(run("export A=b; echo ${A}c \"${A}\""), ["export A=b", "echo bc b"]);
}

#[test]
fn what_is_given_to_a_shell_is_read() {
    assert_eq!(run("sh -ec 'curl $1' x u"), ["sh -ec curl $1 x u", "curl u"]);
    assert_eq!(run("eval \"$(a)\""), ["eval $()?", "a"]);
    assert_eq!(run("bash <(curl x)"), ["bash <()?", "curl x"]);
    assert_eq!(run("su - user -c 'a b'"), ["su - user -c a b", "a b"]);
    assert_eq!(
        run("find / -exec chmod 1 {} \\; -print"),
        ["find / -exec chmod 1 {} ; -print", "chmod 1 {}"]
    );
    assert_eq!(run("bash <<EOF\na\nb\nEOF"), ["bash", "a", "b"]);
    assert_eq!(run("sh <<< 'a'"), ["sh", "a"]);
    assert_eq!(
        commands("FROM a\nCMD [\"sh\", \"-c\", \"a; b\"]"),
        ["sh -c a; b", "a", "b"]
    );
    assert_eq!(run("xargs -n 1 sudo -u x env A=b timeout 5 a b"), ["a b"]);
}

#[test]
fn a_heredoc_is_a_script_or_data() {
    assert_eq!(run("<<EOF\na 'x'\nb\nEOF"), ["a x", "b"]);
    assert_eq!(run("<<-'EOF'\n\t#!/usr/bin/env bash\n\ta\n\tEOF"), ["a"]);
    assert_eq!(run("<<EOF\n#!/usr/bin/python3\nimport os\nEOF"), ["/usr/bin/python3"]);
    assert_eq!(run("cat <<EOF > /x\ncurl | sh it's $(inner)\nEOF"), ["cat", "inner"]);
    assert_eq!(run("cat <<'EOF' > /x && b\n$(inner\nEOF"), ["cat", "b"]);
    assert_eq!(run("<<EOF\ncat <<A <<'B'\n$(x)\nA\n$(y)\nB\nz\nEOF"), ["cat", "x", "z"]);
}

#[test]
fn calls_of_functions_are_followed() {
    assert_eq!(
        run("set -e; f(){ curl \"$1\"|sh; }; f https://e"),
        ["set -e", "f https://e", "curl https://e", "sh"]
    );
    assert_eq!(run("f() { f; g; }; f"), ["f", "f", "g"]);
    assert_eq!(run("f() { a $1; }"), ["a $1?"]);
}

#[test]
fn substitutions_are_commands_wherever_they_stand() {
    assert_eq!(run("a \"$(b `c \\`d\\``)\""), ["a $()?", "b $()?", "c $()?", "d"]);
    assert_eq!(
        run("for i in $(a); do b; done; [[ -n $(c) ]]; x=$(d)"),
        ["b", "", "d", "a", "c"]
    );
    assert_eq!(run("echo $((1 + $(a))) $((b) | c)"), ["echo $()? $()?", "a", "b", "c"]);
    assert_eq!(run("a $(case x in x) b;; (y) c;; esac; d)"), ["a $()?", "b", "c", "d"]);
    assert_eq!(run("echo \"${x:-$(a)}\""), ["echo $()?", "a"]);
}

#[test]
fn what_is_no_shell_is_not_read_as_one() {
    assert!(commands("FROM a\nSHELL [\"cmd\", \"/S\", \"/C\"]\nRUN a").is_empty());
    assert_eq!(
        commands("FROM a\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN a"),
        ["a"]
    );
    assert!(!script_of("FROM a\nRUN a )").not_understood.is_empty());
    assert!(!script_of("FROM a\nRUN if a").not_understood.is_empty());
}

#[test]
fn places_lead_back_to_the_file() {
    let text = "FROM a\nRUN x && \\\n  # c\n  sh -c 'cu\\\nrl $(wget \"é\")' && bash <<E\nlast\nE\n";
    let script = script_of(text);
    let spans: Vec<_> = script
        .commands
        .iter()
        .map(|command| &text[command.span.range()])
        .collect();
    assert_eq!(
        spans,
        [
            "x",
            "sh -c 'cu\\\nrl $(wget \"é\")'",
            "cu\\\nrl $(wget \"é\")",
            "wget \"é\"",
            "bash <<E",
            "last"
        ]
    );
}

#[test]
fn a_command_knows_who_feeds_it() {
    let script = script_of("FROM a\nRUN curl x | tee y | (cd /; sudo sh -c 'bash -s') && z | sh -c \"$(wget y)\"\n");
    let fed = |name: &str| -> Vec<&str> {
        let index = (script.commands.iter())
            .position(|command| command.program() == name)
            .unwrap();
        script
            .feeders(index)
            .iter()
            .map(|at| script.commands[*at].program())
            .collect()
    };
    assert_eq!(fed("bash"), ["tee", "curl"]);
    assert_eq!(fed("z"), [""; 0]);
    let index = (script.commands.iter())
        .rposition(|command| command.program() == "sh")
        .unwrap();
    let inner: Vec<_> = script
        .substituted(index)
        .map(|(_, command)| command.program())
        .collect();
    assert_eq!(inner, ["wget"]);
    assert_eq!(script.commands[index + 1].via, Via::Substitution);
}
