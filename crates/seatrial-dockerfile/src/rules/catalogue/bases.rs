//! Which images a file stands on, how firmly they are named, and how its stages are called.

rules! {
    ST101 Medium warn ["C01"] ["hadolint:DL3006", "trivy:DS-0001", "checkov:CKV_DOCKER_7",
        "kics:Image_Version_Not_Explicit", "semgrep:missing-image-version", "dockle:DKL-DI-0006"]
        "Base image without a tag"
        because "Without a tag the builder takes `latest`, whatever that is on the day of the build: what was judged \
                 and what is built may differ."
        so "Name a version, best with the digest: debian:12-slim@sha256:…."
        bad "FROM debian\n"
        good "FROM debian:12-slim\n";
    ST102 Medium warn ["C01", "C02"] ["hadolint:DL3007", "trivy:DS-0001", "checkov:CKV_DOCKER_7",
        "kics:Image_Version_Using_latest", "semgrep:avoid-latest-version", "dockle:DKL-DI-0006"]
        "Base image with the tag latest"
        because "`latest` is moved to each new release, so the same file gives another image tomorrow."
        so "Name a version, best with the digest: debian:12-slim@sha256:…."
        bad "FROM debian:latest\n"
        good "FROM debian:12-slim\n";
    ST103 Medium warn ["C01", "C02"] ["trivy:DS-0001"] "Variable that gives a base image no tag, or latest"
        because "The default of an ARG decides the base where nobody passes another value, and here it names no version."
        so "Put a version into the default of the ARG."
        bad "ARG BASE=debian\nFROM $BASE\n"
        good "ARG BASE=debian:12-slim\nFROM $BASE\n";
    ST104 Medium warn ["C03"] ["semgrep:dockerfile-source-not-pinned"] "Base image not pinned by a digest"
        because "A tag can be moved to another image after the file was judged; a digest cannot."
        so "Add the digest: name:tag@sha256:…."
        bad "FROM debian:12-slim\n"
        good "FROM debian:12-slim@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
    ST105 Medium warn ["C05"] ["buildkit:UndefinedArgInFrom"] "FROM uses an ARG that the file does not declare"
        because "An undeclared variable is empty, whoever passes a value for it, so the base is another one than it seems."
        so "Declare the ARG with a default before the first FROM."
        bad "FROM debian:12${SUFFIX}\n"
        good "ARG SUFFIX=-slim\nFROM debian:12${SUFFIX}\n";
    ST106 Medium warn ["C05"] ["buildkit:InvalidDefaultArgInFrom"] "Base that is no valid name with the defaults of the ARGs"
        because "Without arguments from outside the build stops here, and with them an unknown image is built on."
        so "Give each ARG in the name a default with which it is a valid one."
        bad "ARG BASE\nFROM $BASE\n"
        good "ARG BASE=debian:12\nFROM $BASE\n";
    ST107 Medium warn ["C06"] ["hadolint:DL3029", "buildkit:FromPlatformFlagConstDisallowed",
        "kics:Using_Platform_Flag", "semgrep:avoid-platform-with-from"] "Platform of a base fixed"
        because "On a host of another kind each command then runs through an emulator, ten times slower and with a larger \
                 attack surface, or the image does not run at all."
        so "Leave --platform out; the one who builds chooses the platform."
        bad "FROM --platform=linux/arm64 debian:12\n"
        good "FROM --platform=$BUILDPLATFORM debian:12\n";
    ST108 Low info ["C06"] ["hadolint:DL3029", "kics:Using_Platform_Flag", "semgrep:avoid-platform-with-from"]
        "Platform of a base chosen by the file"
        because "The stage is built for a platform that the one who builds did not choose."
        so "Use $BUILDPLATFORM or $TARGETPLATFORM, or leave --platform out."
        bad "FROM --platform=linux/arm64 debian:12 AS build-arm64\n"
        good "FROM debian:12 AS build-arm64\n";
    ST109 Low info ["C07"] ["hadolint:DL3065", "buildkit:RedundantTargetPlatform"] "--platform=$TARGETPLATFORM says nothing"
        because "A base is taken for the target's platform anyway."
        so "Remove the flag."
        bad "FROM --platform=$TARGETPLATFORM debian:12\n"
        good "FROM debian:12\n";
    ST110 Medium info ["C08"] ["hadolint:DL3024", "buildkit:DuplicateStageName", "trivy:DS-0012",
        "checkov:CKV_DOCKER_11", "kics:Same_Alias_In_Different_Froms"] "Name of a stage used twice"
        because "Tools differ on which of the two stages the name then means, so a reader may look at the wrong one."
        so "Give each stage a name of its own."
        bad "FROM debian:12 AS build\nFROM alpine:3.20 AS build\n"
        good "FROM debian:12 AS build\nFROM alpine:3.20 AS run\n";
    ST111 Low info ["C09"] ["hadolint:DL3063", "buildkit:ReservedStageName"] "Stage with a reserved name"
        because "`scratch` and `context` mean the empty image and the build context: as names of stages they mislead."
        so "Choose another name."
        bad "FROM debian:12 AS context\n"
        good "FROM debian:12 AS build\n";
    ST112 Low info ["C09"] ["buildkit:StageNameCasing"] "Name of a stage with capitals"
        because "The builder keeps the name in lower case, and a FROM that repeats the capitals does not find it."
        so "Write the name in lower case."
        bad "FROM debian:12 AS Build\n"
        good "FROM debian:12 AS build\n";
    ST113 Low info ["C09"] ["buildkit:FromAsCasing"] "FROM and AS in different case"
        because "A line whose keywords are written in two ways is harder to read."
        so "Write both in the same case."
        bad "FROM debian:12 as build\n"
        good "FROM debian:12 AS build\n";
    ST114 Low info ["C09"] ["buildkit:ConsistentInstructionCasing"] "Keyword in another case than the rest"
        because "A keyword in an odd case is easily overlooked among the others."
        so "Write all keywords in the same case."
        bad "FROM debian:12\nWorkdir /src\n"
        good "FROM debian:12\nWORKDIR /src\n";
    ST120 High error ["G12"] [] "Image that only a local store can have"
        because "An image id, a name in the builder's own store or in this service's namespace is never pulled: it is found \
                 only where another tenant's build or job left it."
        so "Name an image of a registry."
        bad "FROM localhost/other-job\n"
        good "FROM debian:12-slim\n";
    ST121 Low info ["G32"] [] "Meant for Windows"
        because "Windows containers do not run here: the build ends at this line or means something else."
        so "Use a Linux base, and leave out what only Windows needs."
        bad "FROM mcr.microsoft.com/windows/servercore:ltsc2022\n"
        good "FROM debian:12-slim\n";
}
