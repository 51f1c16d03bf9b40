//! ST521 to ST556: commands, metadata, variables, syntax.

use super::*;

#[test]
fn the_last_command_of_a_stage_counts() {
    check(
        "ST521",
        &["FROM a\nCMD b\nRUN c\nCMD d\n"],
        &[
            "FROM a\nCMD b\nFROM c\nCMD d\n",
            "FROM a AS x\nCMD b\nFROM x\nCMD d\n",
            "FROM a\nCMD b\nONBUILD CMD c\n",
        ],
    );
    check(
        "ST522",
        &["FROM a\nENTRYPOINT [\"b\"]\nENTRYPOINT []\n"],
        &["FROM a\nENTRYPOINT b\nCMD c\n"],
    );
    check(
        "ST523",
        &["FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD b\n"],
        &["FROM a\nHEALTHCHECK CMD b\n"],
    );
    assert_eq!(underlined("ST521", "FROM a\nCMD b\ncmd d\n"), ["CMD"]);
    check(
        "ST524",
        &["FROM a\n", "FROM a\nONBUILD HEALTHCHECK NONE\n"],
        &["FROM a\nHEALTHCHECK NONE\n", "FROM a\nHEALTHCHECK NONE\nFROM b\n"],
    );
    check(
        "ST525",
        &["FROM a\nHEALTHCHECK NONE\nFROM b\n"],
        &["FROM a AS x\nHEALTHCHECK CMD c\nFROM x AS y\nFROM y\n", "FROM a\n"],
    );
}

#[test]
fn commands_are_json() {
    check(
        "ST526",
        &["FROM a\nCMD b\n", "FROM a\nENTRYPOINT b c\n", "FROM a\nCMD ['b']\n"],
        &[
            "FROM a\nCMD [\"b\"]\n",
            "FROM a\nSHELL [\"sh\"]\nCMD b\n",
            "FROM a\nRUN b\n",
            "FROM a\nHEALTHCHECK CMD b\n",
        ],
    );
    check(
        "ST527",
        &["FROM a AS x\nSHELL [\"sh\"]\nFROM x\nCMD b\n"],
        &["FROM a\nCMD b\n", "FROM a AS x\nSHELL [\"sh\"]\nFROM y\nCMD b\n"],
    );
    check(
        "ST528",
        &["FROM a\nHEALTHCHECK --retries=2 CMD b\n"],
        &["FROM a\nHEALTHCHECK CMD [\"b\"]\n", "FROM a\nHEALTHCHECK NONE\n"],
    );
    let fixed = |line: &str| {
        let text = format!("FROM a:1\n{line}\n");
        crate::fix::apply(&text, &judged(&text)).replace("FROM a:1\n", "")
    };
    assert_eq!(
        fixed("ENTRYPOINT []\nCMD app --port  80"),
        "ENTRYPOINT []\nCMD [\"app\", \"--port\", \"80\"]\n"
    );
    assert_eq!(fixed("CMD a \\\n  b\nCMD [\"c\"]"), "CMD [\"c\"]\n");
    assert_eq!(
        fixed("HEALTHCHECK CMD app ping"),
        "HEALTHCHECK CMD [\"app\", \"ping\"]\n"
    );
    for kept in [
        "CMD app",
        "ENTRYPOINT []\nCMD app && other",
        "ENTRYPOINT []\nCMD A=1 app",
        "ENTRYPOINT []\nCMD app $X",
        "ENTRYPOINT []\nCMD exec app",
        "ENTRYPOINT []\nCMD app 'a b'",
        "ENTRYPOINT app",
        "ENTRYPOINT [\"x\"]\nCMD app",
        "SHELL [\"bash\"]\nCMD app",
        "ENTRYPOINT []\nCMD app *",
        "ENTRYPOINT []\nCMD ~/app",
    ] {
        assert_eq!(fixed(kept), format!("{kept}\n"));
    }
}

#[test]
fn detours_and_hijacks_are_seen() {
    check_lines(
        "ST529",
        &[
            "SHELL [\"python\", \"-c\"]",
            "SHELL [\"/usr/bin/env\", \"-S\", \"node\"]",
            "SHELL [\"conda\", \"run\"]",
        ],
        &[
            "SHELL [\"/bin/bash\", \"-c\"]",
            "SHELL [\"/usr/bin/env\", \"A=b\", \"bash\"]",
            "SHELL [\"PowerShell.exe\"]",
        ],
    );
    check_lines(
        "ST530",
        &[
            "CMD [\"/lib/ld-musl-x86_64.so.1\", \"x\"]",
            "ENTRYPOINT [\"/proc/self/fd/3\"]",
            "CMD /tmp/x --run",
            "HEALTHCHECK CMD [\"/dev/shm/x\"]",
        ],
        &[
            "CMD [\"ld\", \"-o\", \"x\"]",
            "CMD [\"/usr/bin/ldd\"]",
            "CMD [\"app\", \"/tmp/x\"]",
            "RUN /tmp/x",
        ],
    );
    check_lines(
        "ST531",
        &[
            "ENV LD_PRELOAD=/x.so",
            "ARG BASH_ENV=/x",
            "ENV NODE_OPTIONS=\"--require /x.js\"",
            "ENV A=b LD_AUDIT=x",
            "ENV LD_PRELOAD /x.so",
        ],
        &[
            "ENV LD_LIBRARY_PATH=/x",
            "ENV NODE_OPTIONS=--max-old-space-size=99",
            "ENV LD_PRELOAD=\"\"",
            "LABEL LD_PRELOAD=x",
        ],
    );
    check_lines(
        "ST532",
        &[
            "ENV PATH=/tmp/x:$PATH",
            "ENV PATH=.:/bin",
            "ENV PATH=\"bin:$PATH\"",
            "ENV PATH=:/bin",
            "ENV D=/var/tmp\u{1}ENV PATH=$D/bin:$PATH",
        ],
        &[
            "ENV PATH=/opt/x:$PATH",
            "ENV PATH=$PATH:/tmp",
            "ENV PATH=$HOME/bin:$PATH",
            "ENV PATH=\"${A}/bin:$PATH\"",
            "ENV PATH=/tmpfiles/bin",
        ],
    );
}

#[test]
fn labels_have_forms() {
    check_lines(
        "ST541",
        &[
            "LABEL A=b",
            "LABEL \"io.docker.x\"=b",
            "LABEL a..b=c",
            "LABEL a_b=c",
            "LABEL a.=b",
            "LABEL 9a=b",
            "LABEL a=b c--d=e",
        ],
        &[
            "LABEL a=b",
            "LABEL \"org.example.a-b9\"=c",
            "LABEL 'org.example.x'=b",
            "LABEL com.dockerish.a=b",
        ],
    );
    check_lines(
        "ST542",
        &["LABEL a=\"\"", "LABEL a=''"],
        &["LABEL a=b", "LABEL a=\"$X\"", "ARG X\u{1}LABEL a=$X"],
    );
    let oci = |name: &str, value: &str| format!("LABEL org.opencontainers.image.{name}=\"{value}\"");
    for (rule, name, bad, good) in [
        ("ST543", "url", "nowhere", "https://e.org"),
        ("ST543", "source", "git at e.org", "https://e.org/x.git"),
        ("ST544", "created", "2026-01-02", "2026-01-02T03:04:05+01:00"),
        ("ST545", "licenses", "MIT, BSD", "MIT AND BSD-3-Clause"),
        ("ST546", "revision", "main", "deadbeef"),
        ("ST547", "version", "v2", "2.0.0-rc.1"),
        ("ST548", "authors", "me@", "me <me@e.org>"),
    ] {
        let unknown = oci(name, "$X");
        let other = format!("LABEL org.example.{name}=\"{bad}\"");
        check_lines(rule, &[&oci(name, bad)], &[&oci(name, good), &unknown, &other]);
    }
}

#[test]
fn variables_are_set_before_they_are_used() {
    check(
        "ST551",
        &[
            "FROM a\nCOPY $X /y\n",
            "FROM a\nARG Y=$X\n",
            "FROM a\nENV Y=a$X\n",
            "FROM a\nWORKDIR ${X:-/y}\n",
            "ARG X=1\nFROM a\nUSER $X\n",
            "FROM a AS b\nARG X=1\nFROM c\nEXPOSE $X\n",
            "FROM a\nCOPY --chown=$X b /c\n",
            "FROM a\nCOPY <<E /b\n$X\nE\n",
            "FROM a\nENV X=1 Y=$X\n",
        ],
        &[
            "FROM a\nARG X\nCOPY $X /y\n",
            "ARG X=1\nFROM a\nARG X\nUSER $X\n",
            "FROM a AS b\nENV X=1\nFROM b\nEXPOSE $X\n",
            "FROM a\nENV PATH=/b:$PATH\n",
            "FROM a\nRUN echo $X\n",
            "FROM a\nCMD echo $X\n",
            "FROM a\nENV Y='$X'\n",
            "FROM a\nENV Y=\\$X\n",
            "FROM a\nCOPY <<'E' /b\n$X\nE\n",
        ],
    );
    let told = |text: &str| {
        let found = judged(text);
        let found = found.iter().find(|finding| finding.rule == "ST551");
        found.map(|finding| finding.message.clone()).unwrap_or_default()
    };
    assert!(told("FROM a\nARG APP_HOME\nWORKDIR $AP_HOME\n").ends_with("; is `APP_HOME` meant?"));
    assert!(told("FROM a\nARG APP_HOME\nWORKDIR $PORT\n").ends_with("empty"));
    check(
        "ST552",
        &[
            "FROM a\nENV X=1 Y=$X\n",
            "FROM a\nENV X=1 Y=\"/${X}/z\"\n",
            "FROM a\nENV Y=${X:-2} X=1\n",
            "FROM a\nENV X=/a:$X X=/b:$X\n",
        ],
        &[
            "FROM a\nENV X=1\nENV Y=$X Z=2\n",
            "FROM a\nENV X=1 Y=$XX\n",
            "FROM a\nENV X=$X:1 Y=2\n",
            "FROM a\nARG X\nENV X=1 Y=$X\n",
            "FROM a\nENV X=1 Y='$X'\n",
        ],
    );
}

#[test]
fn old_forms_are_corrected_where_they_mean_the_same() {
    check_lines(
        "ST553",
        &["ENV A b", "LABEL a b c", "ENV A b=c"],
        &["ENV A=b", "ARG A", "LABEL a=b"],
    );
    let fixed = |line: &str| {
        let text = format!("FROM a:1\n{line}\n");
        crate::fix::apply(&text, &judged(&text)).replace("FROM a:1\n", "")
    };
    for (old, new) in [
        ("ENV A b", "ENV A=b\n"),
        ("ENV A   b c", "ENV A=\"b c\"\n"),
        ("ENV A \"b c\"", "ENV A=\"b c\"\n"),
        ("LABEL a b=c", "LABEL a=b=c\n"),
        ("ENV A $B c", "ENV A=\"$B c\"\n"),
        ("ENV A it's", "ENV A it's\n"),
        ("LABEL it's b", "LABEL it's b\n"),
        ("ENV a\"b c", "ENV a\"b c\n"),
        ("ENV A \"b\" c", "ENV A \"b\" c\n"),
        ("ENV A b\\\n  c", "ENV A b\\\n  c\n"),
        ("MAINTAINER \"Ann\" <a@e.org>", "MAINTAINER \"Ann\" <a@e.org>\n"),
        (
            "MAINTAINER Ann <a@e.org>",
            "LABEL org.opencontainers.image.authors=\"Ann <a@e.org>\"\n",
        ),
        ("RUN a \\\n\n\n  b", "RUN a \\\n  b\n"),
        (
            "LABEL org.opencontainers.image.authors=Bob\nMAINTAINER Ann <a@e.org>",
            "LABEL org.opencontainers.image.authors=Bob\nMAINTAINER Ann <a@e.org>\n",
        ),
        ("WORKDIR /a\nWORKDIR b", "WORKDIR /a\nWORKDIR /a/b\n"),
        ("ARG D=/a\nWORKDIR $D\nWORKDIR b", "ARG D=/a\nWORKDIR $D\nWORKDIR b\n"),
        (
            "RUN apt-get update && apt-get install -y curl=7.88.1-10",
            "RUN apt-get update && apt-get install -y curl=7.88.1-10\n",
        ),
        (
            "RUN apt-get update && apt-get install -y curl=7.88.1-10 ca-certificates=20230311",
            "RUN apt-get update && apt-get install --no-install-recommends -y curl=7.88.1-10 ca-certificates=20230311\n",
        ),
    ] {
        assert_eq!(fixed(old), new, "{old}");
    }
}

#[test]
fn refused_triggers_and_misleading_layout_are_seen() {
    check(
        "ST554",
        &["FROM a\nONBUILD FROM b\n", "FROM a\nonbuild onbuild RUN b\n"],
        &["FROM a\nONBUILD RUN FROM b\n"],
    );
    check(
        "ST555",
        &["FROM a\nRUN b \\\n\n c\n", "FROM a\nRUN b \\\n  \n c\n"],
        &["FROM a\nRUN b \\\n # c\n d\n", "FROM a\nRUN b\n\nRUN c\n"],
    );
    let ask = "# check=experimental=all\n";
    check(
        "ST556",
        &[
            &format!("{ask}# x\nARG Y=1\nFROM a\n"),
            &format!("{ask}\n# builds\nFROM a AS b\n"),
        ],
        &[
            &format!("{ask}# Y is why\nARG Y=1\nFROM a\n"),
            &format!("{ask}# x\n\nARG Y=1\nFROM a\n"),
            &format!("{ask}# x\nFROM a\n"),
            "# x\nARG Y=1\nFROM a\n",
            &format!("{ask}# x\n#\nARG Y=1\nFROM a\n"),
            &format!("{ask}ARG Y=1\nFROM a\n"),
        ],
    );
}
