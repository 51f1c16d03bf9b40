//! ST501 to ST519: copies, places, ports, volumes.

use super::*;

#[test]
fn add_is_for_archives_and_urls() {
    check_lines(
        "ST501",
        &[
            "ADD a /b",
            "ADD a.zip /b/",
            "ADD . /b",
            "ADD [\"a b\", \"/c\"]",
            "ADD a.tar b.txt /c/",
            "ARG F=a.txt\u{1}ADD $F /b",
        ],
        &[
            "ADD a.tar.gz /b",
            "ADD a.tgz /b",
            "ADD https://e.org/a /b",
            "ADD git@e.org:a.git /b",
            "COPY a /b",
            "ADD a.xz /b",
            "ADD <<E /b\nx\nE",
        ],
    );
    check(
        "ST502",
        &["FROM a\nADD b.gz /c\n", "FROM a\nADD b.tgz /c\n"],
        &["FROM a\nADD b.tar.gz /c\n", "FROM a\nADD b /c\n"],
    );
}

#[test]
fn an_archive_is_unpacked_where_a_command_says_so() {
    check(
        "ST503",
        &[
            "FROM a\nCOPY x/b.tar /t/\nRUN cd /t && tar xf b.tar\n",
            "FROM a\nCOPY b.tgz /t/c.tgz\nRUN A=1 /bin/tar -xzf /t/c.tgz\n",
            "FROM a\nCOPY b.gz /t/\nRUN [\"gunzip\", \"/t/b.gz\"]\n",
            "FROM a\nCOPY b.tar /t/\nRUN <<E\ntar --extract -f /t/b.tar\nE\n",
        ],
        &[
            "FROM a\nCOPY --from=x b.tar /t/\nRUN tar xf /t/b.tar\n",
            "FROM a\nCOPY b.tar /t/\nRUN tar cf /t/b.tar /x\n",
            "FROM a\nCOPY b.tar /t/\nRUN tar xf /t/other.tar\n",
            "FROM a\nCOPY b.tar /t/\nFROM c\nRUN tar xf /t/b.tar\n",
            "FROM a\nCOPY b.tar /t/\nRUN echo tar -x b.tar\n",
        ],
    );
}

#[test]
fn several_sources_need_a_folder() {
    check_lines(
        "ST504",
        &[
            "COPY a b /c",
            "COPY [\"a\", \"b\", \"/c\"]",
            "COPY a b \"/c\"",
            "COPY a b $D",
        ],
        &[
            "COPY a b /c/",
            "COPY a /c",
            "COPY a b .",
            "COPY a b \"/c/\"",
            "ENV D=/c/\u{1}COPY a b $D",
            "COPY a b ../..",
        ],
    );
    let fixed = |text: &str| crate::fix::apply(text, &judged(text));
    assert_eq!(fixed("FROM a:1\nCOPY a b \"/c\"\n"), "FROM a:1\nCOPY a b \"/c/\"\n");
    assert_eq!(
        fixed("FROM a:1\nCOPY [\"a\", \"b\", \"/c\"]\n"),
        "FROM a:1\nCOPY [\"a\", \"b\", \"/c/\"]\n"
    );
}

#[test]
fn copies_from_stages_and_of_everything() {
    check(
        "ST505",
        &["FROM a AS b\nCOPY --from=B c /d\n", "FROM a\nCOPY --from=0 c /d\n"],
        &[
            "FROM a AS b\nFROM c\nCOPY --from=b d /e\n",
            "FROM a AS b\nFROM c\nCOPY --from=0 d /e\n",
        ],
    );
    check(
        "ST507",
        &[
            "FROM a AS b\nFROM c\nCOPY --from=b / /\n",
            "FROM a AS b\nFROM c\nCOPY --link --from=b \"/\" /\n",
            "FROM a AS b\nFROM c\nCOPY --from=b /. //\n",
        ],
        &["FROM a AS b\nFROM c\nCOPY --from=b / /b\n", "FROM a\nCOPY / /\n"],
    );
    check(
        "ST508",
        &[
            "FROM a\nCOPY . /\n",
            "FROM a\nADD ./ /\n",
            "FROM a\nWORKDIR /b/..\nCOPY . ./\n",
            "FROM a\nCOPY * /\n",
        ],
        &["FROM a\nCOPY . /b\n", "FROM a\nCOPY b /\n"],
    );
}

#[test]
fn relative_places_need_a_working_directory() {
    check(
        "ST506",
        &[
            "FROM a\nCOPY b c\n",
            "FROM a\nCOPY b .\n",
            "FROM a AS x\nWORKDIR /w\nFROM b\nCOPY c d\n",
            "FROM a\nENV D=d\nCOPY c $D\n",
            "FROM a\nONBUILD COPY b c\n",
        ],
        &[
            "FROM a\nWORKDIR /w\nCOPY b c\n",
            "FROM a\nCOPY b '/c'\n",
            "FROM a\nCOPY b $D/c\n",
            "FROM a\nCOPY b D:\\\\c\n",
            "FROM a AS x\nWORKDIR /w\nFROM x AS y\nFROM y\nCOPY c d\n",
            "FROM a\nONBUILD WORKDIR /w\nONBUILD COPY b c\n",
        ],
    );
    check(
        "ST510",
        &[
            "FROM a\nWORKDIR b\n",
            "FROM a\nWORKDIR \"b\"\n",
            "FROM a\nWORKDIR ./b\n",
            "FROM a\nWORKDIR b/$X\n",
        ],
        &[
            "FROM a\nWORKDIR /b\n",
            "FROM a\nWORKDIR '/b'\n",
            "FROM a\nWORKDIR $B\n",
            "FROM a\nWORKDIR /b\nWORKDIR c\n",
            "FROM a\nENV B=/b\nWORKDIR $B/c\n",
        ],
    );
    check(
        "ST511",
        &[
            "FROM a\nWORKDIR /b\nWORKDIR c\n",
            "FROM a AS x\nWORKDIR /b\nFROM x\nWORKDIR c\n",
        ],
        &["FROM a\nWORKDIR b\n", "FROM a\nWORKDIR /b\nWORKDIR $C\n"],
    );
    check(
        "ST512",
        &["FROM a\nWORKDIR $B\n", "FROM a\nWORKDIR C:/b\n"],
        &["FROM a\nWORKDIR /b\nWORKDIR $C\n", "FROM a\nWORKDIR $B/c\n"],
    );
    let text = "FROM a:1\nWORKDIR /b\nWORKDIR c/../d\nWORKDIR e\n";
    assert_eq!(
        crate::fix::apply(text, &judged(text)),
        "FROM a:1\nWORKDIR /b\nWORKDIR /b/d\nWORKDIR /b/d/e\n"
    );
}

#[test]
fn folders_of_the_kernel_and_of_the_system_are_left_alone() {
    check_lines(
        "ST513",
        &[
            "WORKDIR /proc/self/fd/8",
            "WORKDIR /dev",
            "WORKDIR //sys/./x",
            "WORKDIR /a/../proc",
            "ENV D=/proc\u{1}WORKDIR $D/1",
            "WORKDIR '/proc/1'",
        ],
        &[
            "WORKDIR /processes",
            "WORKDIR /srv/proc",
            "WORKDIR proc",
            "WORKDIR /device",
        ],
    );
    check_lines(
        "ST519",
        &[
            "VOLUME /etc",
            "VOLUME [\"/\"]",
            "VOLUME /data /usr/bin/",
            "VOLUME /root/.ssh/x",
        ],
        &[
            "VOLUME /etc/app",
            "VOLUME /usr/share/app",
            "VOLUME /home/app",
            "VOLUME data",
        ],
    );
    check_lines("ST518", &["VOLUME /data", "VOLUME [\"/a\"]"], &["VOLUME /etc", "RUN a"]);
}

#[test]
fn ports_are_numbers_of_the_container() {
    check_lines(
        "ST514",
        &[
            "EXPOSE 22",
            "EXPOSE 80 22/tcp",
            "EXPOSE 20-25",
            "EXPOSE \"22\"",
            "ENV P=22\u{1}EXPOSE $P",
            "EXPOSE 2222:22",
        ],
        &["EXPOSE 2222", "EXPOSE 22:80", "EXPOSE 220-230", "EXPOSE $P"],
    );
    check_lines(
        "ST515",
        &[
            "EXPOSE 65536",
            "EXPOSE 1-70000",
            "EXPOSE 99999999999999999999/udp",
            "ENV P=70000\u{1}EXPOSE $P",
        ],
        &["EXPOSE 65535", "EXPOSE 0", "EXPOSE $P-$Q", "EXPOSE abc"],
    );
    check_lines(
        "ST516",
        &["EXPOSE 1:2", "EXPOSE [::1]:3:4/tcp"],
        &["EXPOSE 1-2", "EXPOSE 1/tcp"],
    );
    check_lines(
        "ST517",
        &["EXPOSE 1/TCP", "EXPOSE 1/Udp"],
        &["EXPOSE 1/tcp", "EXPOSE 1"],
    );
}

#[test]
fn what_would_mean_something_else_is_not_corrected() {
    for (file, kept) in [
        // What the pattern meets may be an archive, which ADD unpacks.
        ("FROM debian\nADD dist/* /opt/\n", "ADD dist/* /opt/"),
        ("FROM debian\nADD ROOTFS.TAR /r/\n", "ADD ROOTFS.TAR /r/"),
        // A trigger is put behind what stands where it runs.
        ("FROM debian\nWORKDIR /a\nONBUILD WORKDIR sub\n", "ONBUILD WORKDIR sub"),
        // Programs that only a shell has.
        ("FROM debian\nHEALTHCHECK CMD kill -0 1\n", "HEALTHCHECK CMD kill -0 1"),
        // Without the option an open line would end in an empty one, and take the next instruction in.
        (
            "FROM debian\nRUN curl -o /a https://x.example/a \\\n    -k\nRUN touch \\\n\n  /b\n",
            "    -k\nRUN touch",
        ),
    ] {
        let fixed = crate::fix::apply(file, &judged(file));
        assert!(fixed.contains(kept), "{fixed}");
    }
}
