//! ST101 to ST121: bases, stages and keywords.

use super::*;

const PIN: &str = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn tags_are_seen_behind_registries_and_variables() {
    check(
        "ST101",
        &[
            "FROM debian\n",
            "FROM localhost:5000/team/app\n",
            "FROM debian AS base\nFROM alpine\n",
            "FROM --platform=$BUILDPLATFORM debian\n",
            "from debian\n",
            "ARG V=an\nFROM debi$V\n",
        ],
        &[
            "FROM debian:12\n",
            &format!("FROM debian{PIN}\n"),
            "FROM scratch\n",
            "FROM debian:12 AS Base\nFROM base\n",
            "ARG B=debian\nFROM $B\n",
            "FROM debian:${TAG}\n",
            "FROM ${REG}/debian:12\n",
            "ARG S=:12\nFROM debian$S\n",
        ],
    );
    check(
        "ST102",
        &[
            "FROM debian:latest\n",
            "FROM ${REG}debian:latest AS a\n",
            "FROM localhost:5000/a:latest\n",
        ],
        &[
            "FROM debian:latest-slim\n",
            &format!("FROM debian:latest{PIN}\n"),
            "FROM latest:12\n",
            "FROM latest/a:1\n",
        ],
    );
    check(
        "ST103",
        &[
            "ARG B=debian\nFROM $B\n",
            "ARG T=latest\nFROM debian:$T\n",
            "FROM ${B:-debian}\n",
        ],
        &[
            "ARG B=debian:12\nFROM $B\n",
            "ARG B\nFROM $B\n",
            "FROM debian:12 AS x\nARG S=x\n",
            "FROM debian\n",
        ],
    );
    check(
        "ST104",
        &["FROM debian\n", "FROM debian:12\n", "ARG B=debian:12\nFROM $B\n"],
        &[
            &format!("FROM debian:12{PIN}\n"),
            &format!("ARG P={PIN}\nFROM debian$P\n"),
            &format!("FROM debian{PIN} AS a\nFROM a\n"),
            "FROM scratch\n",
        ],
    );
}

#[test]
fn variables_of_from_are_those_before_the_first_one() {
    check(
        "ST105",
        &[
            "FROM debian:$V\n",
            "FROM debian:12\nARG V=1\nFROM debian:$V\n",
            "FROM --platform=$P debian\n",
            "FROM ${B:-debian}\n",
        ],
        &[
            "ARG V=12\nFROM debian:$V\n",
            "ARG V\nFROM debian:12$V\n",
            "FROM --platform=$BUILDPLATFORM debian\n",
            "FROM debian-$TARGETARCH\n",
            "FROM debian:\\$V\n",
        ],
    );
    check(
        "ST106",
        &[
            "ARG B\nFROM $B\n",
            "FROM Debian\n",
            "FROM debian:12 AS Base\nFROM Base\n",
            "ARG T\nFROM debian:$T\n",
        ],
        &[
            "FROM debian:12 AS base\nFROM base\n",
            "ARG T\nFROM debian:12$T\n",
            "FROM scratch\n",
        ],
    );
}

#[test]
fn a_platform_is_best_left_to_who_builds() {
    check(
        "ST107",
        &[
            "FROM --platform=linux/arm64 debian\n",
            "FROM --platform=arm64/v8 debian AS x\n",
            "FROM --platform=amd64 debian\n",
        ],
        &[
            "FROM --platform=$BUILDPLATFORM debian\n",
            "FROM --platform=linux/arm64 debian AS tool_arm64\n",
            "FROM --platform=nonsense debian\n",
            "FROM debian\n",
        ],
    );
    check(
        "ST108",
        &[
            "ARG P=linux/amd64\nFROM --platform=$P debian\n",
            "FROM --platform=linux/arm64 debian AS on-linux\n",
        ],
        &[
            "FROM --platform=${TARGETPLATFORM} debian\n",
            "FROM --platform=linux/arm64 debian AS x\n",
        ],
    );
    check(
        "ST109",
        &[
            "FROM --platform=$TARGETPLATFORM debian\n",
            "FROM --platform=\"${TARGETPLATFORM}\" debian\n",
        ],
        &[
            "FROM --platform=$BUILDPLATFORM debian\n",
            "FROM --platform=${TARGETPLATFORM:-linux} debian\n",
        ],
    );
}

#[test]
fn names_of_stages_are_their_own_and_in_lower_case() {
    check(
        "ST110",
        &[
            "FROM debian AS a\nFROM alpine AS A\n",
            "FROM debian AS a\nFROM b AS c\nFROM x AS a\n",
        ],
        &["FROM debian AS a\nFROM a AS b\n", "FROM debian\nFROM debian\n"],
    );
    check(
        "ST111",
        &["FROM debian AS Scratch\n", "FROM debian AS context\n"],
        &["FROM debian AS scratch2\n", "FROM scratch\n"],
    );
    check("ST112", &["FROM debian AS aB\n"], &["FROM debian AS a_b.c-1\n"]);
}

#[test]
fn keywords_go_with_the_majority() {
    check(
        "ST113",
        &[
            "FROM a as b\n",
            "from a AS b\n",
            "FROM a As b\n",
            "FROM a aS b\nrun x\nrun y\n",
        ],
        &["FROM a AS b\n", "from a as b\n", "From a as b\n"],
    );
    check(
        "ST114",
        &[
            "FROM a\nrun b\n",
            "from a\nrun b\nRUN c\n",
            "FROM a\nRuN b\n",
            "FROM a\nonbuild RUN b\n",
        ],
        &[
            "FROM a\nRUN b\n",
            "from a\nrun b\n",
            "arg A=1\nFROM a\nRUN b\n",
            "FROM a\nONBUILD run b\n",
        ],
    );
}

#[test]
fn images_of_a_local_store_are_not_bases() {
    let id = "0123456789abcdef".repeat(4);
    check(
        "ST120",
        &[
            &format!("FROM {id}\n"),
            &format!("FROM sha256:{id}\n"),
            "FROM localhost/x\n",
            "FROM localhost:5000/x\n",
            "FROM docker-daemon:x:1\n",
            "FROM oci:/var/images/x\n",
            "FROM oci-layout://x\n",
            "FROM seatrial/job-x:1\n",
            "FROM docker.io/seatrial/holder\n",
            "ARG B=localhost/x\nFROM $B\n",
            "FROM a\nCOPY --from=localhost/x /a /b\n",
            "FROM a\nRUN --mount=type=bind,from=seatrial/job-y,target=/a b\n",
        ],
        &[
            "FROM localhosts/x\n",
            "FROM oci/tools:1\n",
            "FROM example.com/seatrial/x:1\n",
            "FROM seatrials/x:1\n",
            "FROM debian AS localhost\nFROM localhost\n",
            "FROM debian AS localhost\nFROM a\nCOPY --from=LOCALHOST /a /b\n",
        ],
    );
    check(
        "ST121",
        &[
            "FROM mcr.microsoft.com/windows/nanoserver:1809\n",
            "FROM python:3-windowsservercore-1809\n",
            "FROM --platform=windows/amd64 x\n",
            "# escape=`\nFROM a\n",
        ],
        &["FROM debian:12\n", "FROM example.com/windows-fonts:1\n"],
    );
}
