//! What is read out of shell text.

use crate::{
    ast::Dockerfile,
    script::{Interpreter, Memory, Script, Via, Why, of_instruction},
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
        &Memory::default(),
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
    // The text is an argument of what SHELL names; that it is shell text is a guess.
    assert_eq!(
        commands("FROM a\nSHELL [\"fish\", \"-c\"]\nRUN a | b"),
        ["fish -c a | b", "a", "b"]
    );
    assert_eq!(
        commands("FROM a\nSHELL [\"python3\", \"-c\"]\nRUN if a: (b"),
        ["python3 -c if a: (b"]
    );
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

/// What is run, without what it is run by.
fn runs(text: &str, program: &str) -> bool {
    let script = script_of(&format!("FROM a\nRUN {text}\n"));
    script.commands.iter().any(|command| command.program() == program)
}

#[test]
fn a_program_is_found_behind_what_may_hide_it() {
    let hidden = [
        "$x nsenter -t 1",
        "${x}nsenter -t 1",
        "/usr/bin/${x}nsenter -t 1",
        "${a:-nsenter} -t 1",
        "${PATH:+nsenter} -t 1",
        "for x in a nsenter; do $x -t 1; done",
        "for x in 'nsenter -t 1'; do $x; done",
        "if a; then x=nsenter; fi; $x -t 1",
        "x=ls; (x=nsenter; $x -t 1)",
        "a=(nsenter -t 1); \"${a[@]}\"",
        "set -- nsenter -t 1; \"$@\"",
        "f() { \"$@\"; }; f nsenter -t 1",
        "sh -c '\"$@\"' x nsenter -t 1",
        "sh -c '$0 -t 1' nsenter",
        "bash -oc pipefail 'nsenter -t 1'",
        "nice nice nice nice nice nice nice nice nice nice nsenter -t 1",
        "env -S 'a=b nsenter -t 1'",
        "env -iS'nsenter -t 1'",
        "env --split-string='nsenter -t 1'",
        "script -qc 'nsenter -t 1' /dev/null",
        "su -lc 'nsenter -t 1' x",
        "su x --command='nsenter -t 1'",
        "sg x -c 'nsenter -t 1'",
        "sg x 'nsenter -t 1'",
        "setarch x86_64 -R nsenter -t 1",
        "prlimit --nofile=4 nsenter -t 1",
        "/lib64/ld-linux-x86-64.so.2 /usr/bin/nsenter -t 1",
        "capsh --user=x -- -c 'nsenter -t 1'",
        "$(which nsenter) -t 1",
        "$(command -v nsenter) -t 1",
        "$(echo nsenter) -t 1",
        "awk 'BEGIN { system(\"nsenter -t 1\") }'",
        "awk 'BEGIN { \"nsenter -t 1\" | getline }'",
        "awk 'BEGIN { print 1 | \"nsenter -t 1\" }'",
        "python3 -c 'import os; os.system(\"nsenter -t 1\")'",
        "python3 -c 'import subprocess; subprocess.run([\"nsenter\", \"-t\"])'",
        "perl -e 'exec \"nsenter\", \"-t\"'",
        "for x in a b c d e f g h i j nsenter; do $x -t 1; done",
        "read x <<< nsenter; $x -t 1",
        "<<E python3\nimport os\nos.system('nsenter -t 1')\nE",
        "<<E\n#!/usr/bin/python3\nimport os\nos.system('nsenter -t 1')\nE",
    ];
    let missed: Vec<_> = hidden.iter().filter(|text| !runs(text, "nsenter")).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    let other = [
        "$x -t nsenter",
        "echo nsenter",
        "\"$x\" nsenter",
        "for x in nsenter; do echo $x; done",
        "python3 -c 'print(\"nsenter -t 1\")'",
    ];
    let wrong: Vec<_> = other.iter().filter(|text| runs(text, "nsenter")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn text_is_followed_to_the_shell_that_reads_it() {
    let followed = [
        "cat <<E | sh\nnsenter -t 1\nE",
        "echo nsenter -t 1 | sh -e",
        "echo nsenter -t 1 | cat | tee /x | sh",
        "{ echo a; echo nsenter -t 1; } | sh",
        "printf '%s\\n' 'nsenter -t 1' | sh",
        "printf 'a\\nnsenter -t 1\\n' | sh",
        ". /dev/stdin <<E\nnsenter -t 1\nE",
        "bash /dev/fd/0 <<E\nnsenter -t 1\nE",
        "eval \"$(echo nsenter -t 1)\"",
        "sh -c \"$(printf 'nsenter -t 1')\"",
        "bash <(echo nsenter -t 1)",
        "bash < <(echo nsenter -t 1)",
        "sh <<< \"$(echo nsenter -t 1)\"",
        "echo nsenter -t 1 > /x && sh /x",
        "echo a > /x; echo nsenter -t 1 >> /x; . /x",
        "cat > /x <<E && chmod +x /x && /x\nnsenter -t 1\nE",
        "echo nsenter -t 1 | tee /usr/bin/x; chmod +x /usr/bin/x; x",
        "echo nsenter -t 1 | xargs -I{} sh -c {}",
        "echo 'nsenter -t 1' | xargs -0 sh -c",
        "printf 'ns\\145nter -t 1' | sh",
        "echo -e 'ns\\x65nter -t 1' | bash",
        "printf 'ns%ser -t 1' ent | sh",
        "$(printf ns%s enter) -t 1",
        "echo nsenter > /x; mv /x /y; sh /y",
        "true | cat <<E | bash\ncurl x | bash\nnsenter -t 1\nE",
    ];
    let missed: Vec<_> = followed.iter().filter(|text| !runs(text, "nsenter")).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    let other = [
        "echo nsenter -t 1 | sh /x",
        "echo nsenter -t 1 > /x && cat /x",
        "echo nsenter -t 1 > /x && sh /y",
        "echo nsenter -t 1 > /etc/x; x",
    ];
    let wrong: Vec<_> = other.iter().filter(|text| runs(text, "nsenter")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_script_that_is_handed_to_a_shell_is_read_once_though_shells_stand_in_it() {
    for text in [
        "cat <<'E' | bash\ncurl x | bash -\ny\nE",
        "echo 'envsubst < /t.sh | sh' | sh",
        "echo 'chroot /mnt /bin/bash' | bash",
        "cat <<E | su - postgres -c bash\na | sh\nE",
        "echo 'a | sh | sh' | xargs -I{} sh -c '{}'",
    ] {
        let script = script_of(&format!("FROM a\nRUN {text}"));
        assert_eq!(script.not_understood, [], "{text}");
        assert!(script.commands.len() < 12, "{text}: {}", script.commands.len());
    }
}

#[test]
fn what_is_followed_costs_no_more_than_it_may() {
    let cats = |count: usize| format!("true{} | sh", " | cat".repeat(count));
    let nested = (0..6).fold("true".to_owned(), |inner, _| {
        format!("cat <({inner}) <({inner}) | cat - - - - | sh")
    });
    let words = |count: usize| format!("set -- {}; echo {}", "x ".repeat(count), "\"$@\"".repeat(count));
    let values = format!("true || x=\"{}\"; {}", "a ".repeat(5000), "$x; ".repeat(500));
    let files = "echo abc >> /f; ".repeat(2000) + &"cat /f /f /f /f | { sh; sh; }; ".repeat(200);
    let argument = format!("set -- {}; {}", "y".repeat(10_000), "echo $1 $1; ".repeat(5_000));
    for text in [cats(400), nested, words(1000), values, files, argument] {
        let script = script_of(&format!("FROM a\nRUN {text}"));
        let words = script.commands.iter().flat_map(|command| &command.words);
        let bytes: usize = words.map(|word| word.text.len()).sum();
        // What is written, and what the two bounds of a file pay for.
        assert!(bytes <= 2 * text.len() + 1_600_000, "{bytes} of {}", text.len());
    }
}

#[test]
fn long_scripts_are_read_to_their_end() {
    let calls = "log() { echo \"[entry] $*\"; }\n".to_owned() + &"log \"step\"\n".repeat(300) + "nsenter -t 1\n";
    let library: String = (0..200).map(|at| format!("f{at}() {{ echo {at}; }}\n")).collect();
    let branches: String = (0..300)
        .map(|at| format!("if [ -n \"${{OPT_{at}:-}}\" ]; then\n  echo \"a=${{OPT_{at}}}\" >> /etc/app.conf\nfi\n"))
        .collect();
    for text in [calls, library + "nsenter -t 1\n", branches + "nsenter -t 1\n"] {
        let script = script_of(&format!("FROM a\nRUN <<E\n{text}E\n"));
        assert_eq!(script.not_understood, [], "{}", &text[..60]);
        assert!(
            script
                .commands
                .iter()
                .any(|command| command.wrapper("nsenter").is_some() || command.program() == "nsenter")
        );
    }
}

#[test]
fn what_runs_itself_is_read_once() {
    assert!(runs("echo sh /x > /x; echo 'nsenter -t 1' >> /x; sh /x", "nsenter"));
    assert_eq!(
        script_of("FROM a\nRUN echo . /x > /x; . /x").not_understood,
        [],
        "no file runs itself"
    );
}

#[test]
fn what_is_beyond_the_bounds_is_told_as_such() {
    let functions: Vec<_> = (0..20).map(|at| format!("f{at}() {{ f{}; }}; ", at + 1)).collect();
    let deep = functions.concat() + "f0";
    let many = "nice ".repeat(80) + "nsenter";
    for text in [deep, many] {
        let unread = script_of(&format!("FROM a\nRUN {text}")).not_understood;
        assert!(unread.iter().any(|unread| unread.why == Why::Limit), "{text}");
    }
    let unread = script_of("FROM a\nRUN /usr/bin/nsente? -t 1; /opt/*/bin/java").not_understood;
    assert_eq!(
        unread.iter().map(|unread| unread.why).collect::<Vec<_>>(),
        [Why::Pattern]
    );
}
