//! ST015 and ST016: where images come from.

use super::*;

#[test]
fn bases_are_matched_by_their_completed_name() {
    check(
        "ST015",
        &[
            "FROM evil.example/x\n",
            "FROM evil/x\n",
            "from evil/x as a\n",
            "FROM --platform=linux/amd64 evil/x\n",
            "FROM debian\nFROM evil/x\n",
            "FROM localhost/debian\n",
            "FROM docker.io.evil.example/library/debian\n",
            "FROM \"evil/x\"\n",
            "FROM ev\\il/x\n",
            "FROM ev\\\nil/x\n",
            "ARG B=evil/x\nFROM $B\n",
            "ARG B=debian\nARG B=evil/x\nFROM $B\n",
            "ARG A=evil\nARG B=$A/x\nFROM ${B}\n",
            "FROM ${B:-evil/x}\n",
            "ARG B\nFROM $B\n",
            "FROM $B\n",
            "FROM debian:$B\n",
            "FROM a-$TARGETARCH\n",
            "ARG B=debian\nFROM ${B#d}\n",
            "ARG B=debian\nFROM ${B^}\n",
            "FROM debian\nARG B=debian\nFROM $B\n",
            "FROM Debian\n",
            "FROM debian AS base\nFROM BASE\n",
            "FROM debian AS base\nFROM docker.io/library/Base\n",
            "FROM later\nFROM debian AS later\n"
                .replace("later", "x/later")
                .as_str(),
            "FROM scratch:latest@x\n",
            "FROM evil/x AS Debian extra\n",
        ],
        &[
            "FROM debian\n",
            "FROM debian:12-slim\n",
            "FROM docker.io/library/debian\n",
            "FROM index.docker.io/debian\n",
            "FROM scratch\n",
            "FROM 'debian'\n",
            "FROM debian AS evil\nFROM evil\n",
            "FROM debian AS Base\nFROM base\n",
            "FROM debian AS base\nARG X=1\nFROM base AS b\nFROM b\n",
            "ARG V=12\nFROM debian:$V\n",
            "ARG B=scratch\nFROM $B\n",
            "ARG S=base\nFROM debian AS base\nFROM $S\n",
            "ARG DEBUG=\"\"\nFROM scratch${DEBUG-@bogus}\n",
            "FROM ${B:-debian}\n",
            "# escape=`\nARG V=12\nFROM deb`ian:$V\n",
        ],
    );
    assert_eq!(underlined("ST015", "FROM --platform=x evil/y AS z\n"), ["evil/y"]);
}

#[test]
fn files_are_copied_from_earlier_stages_only() {
    check(
        "ST016",
        &[
            "FROM debian\nCOPY --from=busybox /a /b\n",
            "FROM debian\nCOPY --from=debian /a /b\n",
            "FROM debian\nCOPY --from=evil.example/x:1 /a /b\n",
            "FROM debian\nONBUILD COPY --from=x /a /b\n",
            "FROM debian AS a\nCOPY --from=a /a /b\n",
            "FROM debian\nCOPY --from=0 /a /b\n",
            "FROM debian\nFROM debian\nCOPY --from=2 /a /b\n",
            "FROM debian\nFROM debian\nCOPY --from=-1 /a /b\n",
            "FROM debian\nFROM debian\nCOPY --from=99999999999999999999 /a /b\n",
            "FROM debian\nCOPY --from=b /a /b\nFROM debian AS b\n",
            "ARG S=a\nFROM debian AS a\nFROM debian\nCOPY --from=$S /a /b\n",
            "FROM debian\nCOPY --fr\\om=x /a /b\n",
            "FROM debian\nCOPY --fro\\\nm=x /a /b\n",
            "FROM debian\nCOPY --FROM=x /a /b\n",
            "FROM debian\nCOPY --from= /a /b\n",
            "FROM debian\nCOPY --from=x [\"/a\", \"/b\"]\n",
            "COPY --from=foo bar .\n",
            "FROM debian\nADD --from=x /a /b\n",
        ],
        &[
            "FROM debian AS a\nFROM debian\nCOPY --from=a /a /b\n",
            "FROM debian AS Build\nFROM debian\nCOPY --from=BUILD /a /b\n",
            "FROM debian\nFROM debian\nCOPY --from=0 /a /b\n",
            "FROM debian AS a\nFROM debian AS b\nFROM b\nONBUILD COPY --from=a /a /b\n",
            "FROM debian\nCOPY a --from=x /b\n",
        ],
    );
    assert_eq!(underlined("ST016", "FROM debian\nCOPY --from=x /a /b\n"), ["x"]);
}
