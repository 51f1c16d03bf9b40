//! ST009 to ST011: what `ADD` fetches.

use super::*;

#[test]
fn internal_addresses_are_seen_in_every_form() {
    let hosts = [
        "127.0.0.1",
        "127.1",
        "0.0.0.0",
        "10.0.0.1:8080",
        "192.168.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.01",
        "127.0.1",
        "3232235777",
        "1.2.3.4.5",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "[::1]",
        "[::]",
        "[::1]:80",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[fe80::1%25eth0]",
        "[fd00:ec2::254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[::7f00:1]",
        "[oops]",
        "::1",
        "localhost",
        "LocalHost",
        "localhost.",
        "localhost.localdomain",
        "a.localhost",
        "127.0.0.1.",
        "127.0.0.1..",
        "metadata",
        "metadata.google.internal",
        "instance-data",
        "host.docker.internal",
        "kubernetes.default.svc",
        "registry",
        "printer.local",
        "x.lan",
        "127.0.0.1.nip.io",
        "10-0-0-1.sslip.io",
        "localtest.me",
        "a.lvh.me",
        "user:pass@127.0.0.1",
        "example.com@127.0.0.1",
        "example.com:80@169.254.169.254",
        "a@b@localhost",
        "127.0.0.1@127.0.0.1",
        "example.com\\@127.0.0.1",
        "example.com#@127.0.0.1",
        "example.com?@127.0.0.1",
        "%31%32%37.0.0.1",
        "127.0.0.%31",
        "loc%61lhost",
        "exam%70le.com",
        "１２７.0.0.1",
        "127。0。0。1",
        "ⓛocalhost",
        "",
        "@",
        ":80",
        "a b.com",
        "exa\"\"mple.com@localhost",
    ];
    for host in hosts {
        for scheme in ["http://", "https://", "HTTP://", "hTTps://"] {
            for text in [
                format!(
                    "FROM debian\nADD [\"{scheme}{}/x\", \"/x\"]\n",
                    host.replace('\\', "\\\\").replace('"', "")
                ),
                format!(
                    "FROM debian\nONBUILD ADD [\"{scheme}{}\", \"/x\"]\n",
                    host.replace('\\', "\\\\").replace('"', "")
                ),
            ] {
                assert!(fired(&text).contains("ST009"), "{text}");
            }
        }
    }
    check_lines(
        "ST009",
        &[
            "ADD http://127.0.0.1/x /x",
            "ADD --checksum=sha256:aa http://localhost/x /x",
            "ADD a http://127.0.0.1/x b /x",
            "ADD http://127.0.0.1/x",
            "ADD htt\\p://127.0.0.1/x /x",
            "ADD \"http://127.0.0.1/x\" /x",
            "ADD http://127.0.\\\n0.1/x /x",
            "ADD http:///127.0.0.1/x /x",
            "ADD http:127.0.0.1/x /x",
            "ADD http:\\\\\\\\127.0.0.1/x /x",
            "ADD https://127.0.0.1/x.git /x",
            "ADD git://127.0.0.1/x /x",
            "ADD http://$UNKNOWN/x /x",
            "ADD http://a.${UNKNOWN}.com/x /x",
            "ADD http://example.com$UNKNOWN/x /x",
            "ARG H=127.0.0.1\u{1}ADD http://$H/x /x",
            "ENV A=127 B=.0.0.1\u{1}ADD http://$A$B/x /x",
            "ENV U=http://localhost\u{1}ADD $U/x /x",
            "ENV H=example.com\nARG H=127.0.0.1\u{1}ADD http://$H/x /x",
            "ENV H=127.0.0.1\nARG H=example.com\u{1}ADD http://$H/x /x",
            "ADD http://${H:-127.0.0.1}/x /x",
            "ADD http://${H:-example.com}/x /x",
            "ADD \" http://127.0.0.1/x\" /x",
        ],
        &[
            "ADD http://example.com/x /x",
            "ADD https://8.8.8.8/x /x",
            "ADD https://[2606:4700::1111]/x /x",
            "ADD https://user@example.com:8443/x /x",
            "ADD https://github.com/a/b/releases/download/v1/x.tgz /x",
            "ADD https://example.com/127.0.0.1/@localhost /x",
            "ADD https://example.com/$UNKNOWN/x /x",
            "ADD https://172.32.0.1/x /x",
            "ADD localhost /x",
            "ADD 127.0.0.1 /x",
            "COPY http://127.0.0.1/x /x",
            "ADD x http://127.0.0.1/",
            "ADD <<http://127.0.0.1/x /x\nhttp://127.0.0.1/x",
            "RUN curl http://127.0.0.1/x",
            "ADD $UNKNOWN /x",
        ],
    );
    check(
        "ST009",
        &[],
        &[
            "ARG H=127.0.0.1\nFROM debian\nADD http://example.com/$H /x\n",
            "FROM debian\nARG B=https://example.com V\nADD $B/$V/x /x\n",
        ],
    );
}

#[test]
fn repositories_are_seen_in_every_form() {
    check_lines(
        "ST010",
        &[
            "ADD git@github.com:a/b.git /x",
            "ADD git@github.com:a/b /x",
            "ADD deploy@host.example:a /x",
            "ADD git://example.com/a /x",
            "ADD ssh://git@example.com/a /x",
            "ADD git+ssh://example.com/a /x",
            "ADD https://github.com/a/b.git /x",
            "ADD https://github.com/a/b.git#main:dir /x",
            "ADD https://github.com/a/b.git?ref=main /x",
            "ADD https://github.com/a/b.GIT/ /x",
            "ADD https://github.com/a/b%2egit /x",
            "ADD github.com/a/b.git /x",
            "ADD [\"https://github.com/a/b.git#v1\", \"/x\"]",
            "ADD --keep-git-dir=true https://example.com/a.git /x",
            "ADD --keep-git-dir a /x",
            "ENV G=git://\u{1}ADD ${G}example.com/a /x",
        ],
        &[
            "ADD .gitconfig /x",
            "ADD repo.git /x",
            "ADD https://github.com/a/b/archive/v1.tar.gz /x",
            "ADD https://example.com/x.gitignore /x",
            "ADD user@file /x",
            "ADD a:b /x",
            "RUN git clone https://github.com/a/b.git",
        ],
    );
}

#[test]
fn remote_files_need_a_checksum_that_the_file_decides() {
    let sum = "0a".repeat(32);
    let with = |flag: &str| format!("ADD {flag} https://example.com/x /x");
    check_lines(
        "ST011",
        &[
            "ADD https://example.com/x /x",
            "ADD [\"https://example.com/x\", \"/x\"]",
            "ADD local http://example.com/x /x",
            "ENV U=https://example.com\u{1}ADD $U/x /x",
            &with("--checksum="),
            &with("--checksum"),
            &with("--checksum=md5:00"),
            &with("--checksum=sha256:00"),
            &with("--checksum=$UNKNOWN"),
            &with("--chown=1"),
        ],
        &[
            &with(&format!("--checksum=sha256:{sum}")),
            "ADD local /x",
            "ADD $UNKNOWN /x",
            "ADD <<E /x\na\nE",
        ],
    );
    check(
        "ST011",
        &[],
        &[&format!("FROM debian\nARG S=sha256:{sum}\n{}\n", with("--checksum=$S"))],
    );
}
