//! Habits of shell steps.

use super::*;

#[test]
fn pipes_are_told_unless_the_shell_minds_their_failures() {
    check_lines(
        "ST451",
        &[
            "RUN a | b",
            "RUN a && (b | c)",
            "RUN x=$(a | b)",
            "SHELL [\"/bin/bash\", \"-c\"]\u{1}RUN a | b",
            "SHELL [\"/bin/sh\", \"-o\", \"pipefail\", \"-c\"]\u{1}RUN a | b",
            "RUN a | b; set -o pipefail",
            "SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\u{1}RUN [\"sh\", \"-c\", \"a | b\"]",
            "RUN <<E\na | b\nE",
        ],
        &[
            "RUN a || b",
            "RUN echo 'a | b'",
            "RUN a # | b",
            "RUN set -o pipefail; a | b",
            "RUN set -euxo pipefail && a | b",
            "RUN bash -o pipefail -c 'a | b'",
            "RUN case a in a|b) c ;; esac",
            "CMD a | b",
        ],
    );
    check(
        "ST451",
        &["FROM a\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nFROM b\nRUN a | b\n"],
        &[
            "FROM a\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN a | b\n",
            "FROM a\nSHELL [\"/bin/ash\", \"-eo\", \"pipefail\", \"-c\"]\nRUN a | b\n",
            "FROM a\nSHELL [\"pwsh\", \"-c\"]\nRUN a | b\n",
            "FROM a AS b\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nFROM b\nRUN a | b\n",
        ],
    );
}

#[test]
fn a_pipe_from_what_hardly_fails_weighs_little() {
    let level = |line: &str| {
        let mut found = judged(&format!("FROM a\nRUN {line}\n"));
        found.retain(|finding| finding.rule == "ST451");
        found.first().map(|finding| finding.level)
    };
    assert_eq!(level("echo a | b"), Some(Level::Info));
    assert_eq!(level("echo a | b | c"), Some(Level::Warn));
    assert_eq!(level("echo a | b; curl c | d"), Some(Level::Warn));
    assert_eq!(level("a; b"), None);
}

#[test]
fn a_cd_is_told_by_where_it_stands() {
    check_lines(
        "ST452",
        &[
            "RUN cd /a",
            "RUN a && cd /b",
            "RUN a && \\\n# x\n  cd /b",
            "RUN a \\\n  && cd /b && c",
        ],
        &[
            "RUN a; cd /b",
            "RUN (cd /a; b)",
            "RUN echo cd /a",
            "CMD cd /a && b",
            "RUN make -C /a",
            "RUN su a -c 'cd /b && c'",
        ],
    );
    check_lines(
        "ST459",
        &["RUN a; cd /b", "RUN (cd /a; b)", "RUN if a; then cd /b; fi"],
        &["RUN cd /a", "RUN a && cd /b"],
    );
}

#[test]
fn wget_and_curl_are_told_once_a_stage() {
    let text = "FROM a\nRUN wget -q x && curl y\nRUN wget -q z\nRUN curl z\n";
    assert_eq!(underlined("ST453", text), ["curl y"]);
    check(
        "ST453",
        &["FROM a\nRUN curl x\nRUN [\"wget\", \"y\"]\n"],
        &[
            "FROM a\nRUN curl x\nFROM b\nRUN wget y\n",
            "FROM a\nRUN apt-get install wget curl && curl x\n",
            "FROM a\nRUN command -v wget || curl x\n",
            "FROM a\nRUN curl -A wget x\n",
        ],
    );
}

#[test]
fn single_commands_that_do_little_good() {
    check_lines(
        "ST454",
        &[
            "RUN service a start",
            "RUN a & kill $!",
            "RUN [\"top\"]",
            "RUN sudo mount /a",
        ],
        &[
            "RUN apt-get install ssh vim",
            "RUN echo top",
            "RUN /etc/init.d/a start",
            "RUN which ps",
            "RUN command -v ssh",
        ],
    );
    check_lines(
        "ST455",
        &[
            "RUN wget https://example.com/",
            "RUN wget -O q https://example.com/",
            "RUN wget -Oq x",
            "RUN wget -nc x",
        ],
        &[
            "RUN wget -q x",
            "RUN wget -qO- x",
            "RUN wget -nv x",
            "RUN wget --progress=dot:giga x",
            "RUN wget -o /log x",
            "RUN wget --append-output=/log x",
            "RUN apk add wget",
            "RUN command -v wget",
        ],
    );
    check_lines(
        "ST457",
        &[
            "RUN ln -sf bash /bin/sh",
            "RUN rm /bin/sh && ln -s /bin/bash /bin/sh",
            "RUN cp /a /usr/bin/sh",
        ],
        &["RUN ln -s /bin/sh /a", "RUN ln -s a b; echo /bin/sh", "RUN cat /bin/sh"],
    );
    check_lines(
        "ST458",
        &[
            "RUN useradd -u 100000 a",
            "RUN useradd --uid=1234567 a",
            "RUN useradd -mu 1234567 a",
            "ARG U=1234567\u{1}RUN useradd -u 1234567 a",
        ],
        &[
            "RUN useradd -u 99999 a",
            "RUN useradd -l -u 100000 a",
            "RUN useradd --no-log-init --uid 100000 a",
            "RUN useradd -u 000001 a",
            "RUN useradd -u $U a",
        ],
    );
}

#[test]
fn steps_in_a_row_are_told_when_each_is_one_command() {
    check(
        "ST456",
        &[
            "FROM a\nRUN b\nRUN c\n",
            "FROM a\nRUN b\n# d\n\nRUN c\n",
            "FROM a\nRUN b && c\nRUN d\nRUN e\n",
            "FROM a\nSHELL [\"cmd\", \"/c\"]\nRUN b\nRUN c\n",
            "FROM a\nRUN --mount=type=cache,target=/x b\nRUN --mount=type=cache,target=/x c\n",
        ],
        &[
            "FROM a\nRUN b\n",
            "FROM a\nRUN b\nWORKDIR /\nRUN c\n",
            "FROM a\nRUN b\nRUN c && d\n",
            "FROM a\nRUN b; c\nRUN d\n",
            "FROM a\nRUN --network=none b\nRUN c\n",
            "FROM a\nRUN b $(c)\nRUN d\n",
            "FROM a\nRUN b\nFROM c\nRUN d\n",
            "FROM a\nSHELL [\"cmd\", \"/c\"]\nRUN b & c\nRUN d\n",
        ],
    );
    assert_eq!(underlined("ST456", "FROM a\nRUN b\nRUN c\nRUN d\n").len(), 2);
}
