//! Package managers: what they install, and what they leave behind.

rules! {
    ST301 Low info ["C24"] ["hadolint:DL3008", "kics:apt/apk/yum/dnf/zypper_pin"] "apt-get installs whatever version there is"
        because "The same file gives another image next week, and nobody can tell which version was tested."
        so "Name the version: package=1.2.*; or take packages from a snapshot of the archive."
        bad "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n"
        good "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-* && rm -rf /var/lib/apt/lists/*\n";
    ST302 Low info ["C24"] ["hadolint:DL3018", "kics:apt/apk/yum/dnf/zypper_pin"] "apk installs whatever version there is"
        because "The same file gives another image next week, and nobody can tell which version was tested."
        so "Name the version: package=~1.2."
        bad "FROM alpine:3.22\nRUN apk add --no-cache make\n"
        good "FROM alpine:3.22\nRUN apk add --no-cache make=~4.4\n";
    ST303 Low info ["C24"] ["hadolint:DL3033", "kics:apt/apk/yum/dnf/zypper_pin"] "yum installs whatever version there is"
        because "The same file gives another image next week, and nobody can tell which version was tested."
        so "Name the version: package-1.2.3; of a module the stream: module:9."
        bad "FROM centos:7\nRUN yum install -y make && yum clean all\n"
        good "FROM centos:7\nRUN yum install -y make-3.82 && yum clean all\n";
    ST304 Low info ["C24"] ["hadolint:DL3037", "kics:apt/apk/yum/dnf/zypper_pin"] "zypper installs whatever version there is"
        because "The same file gives another image next week, and nobody can tell which version was tested."
        so "Name the version: package=1.2.3."
        bad "FROM opensuse:42.3\nRUN zypper install -y make && zypper clean\n"
        good "FROM opensuse:42.3\nRUN zypper install -y make=4.2.1 && zypper clean\n";
    ST305 Low info ["C24"] ["hadolint:DL3041", "kics:apt/apk/yum/dnf/zypper_pin"] "dnf installs whatever version there is"
        because "The same file gives another image next week, and nobody can tell which version was tested."
        so "Name the version: package-1.2.3; of a module the stream: module:9."
        bad "FROM fedora:42\nRUN dnf install -y make && dnf clean all\n"
        good "FROM fedora:42\nRUN dnf install -y make-4.4.1 && dnf clean all\n";
    ST306 Low info ["C24"] ["kics:apt/apk/yum/dnf/zypper_pin"] "apt or aptitude installs whatever version there is"
        because "The same file gives another image next week, and nobody can tell which version was tested."
        so "Use apt-get, and name the version: package=1.2.*."
        bad "FROM debian:12\nRUN apt update && apt install -y make && rm -rf /var/lib/apt/lists/*\n"
        good "FROM debian:12\nRUN apt update && apt install -y make=4.3-* && rm -rf /var/lib/apt/lists/*\n";
    ST311 Medium warn ["C25"] ["hadolint:DL3013", "kics:pip/npm/gem_pin"] "pip installs whatever version there is"
        because "Whoever publishes the next version decides what runs in the image: a taken-over package arrives with the \
                 next build."
        so "Name the version (package==1.2.3), or install from a file of requirements with hashes."
        bad "FROM python:3.13\nRUN pip install --no-cache-dir flask\n"
        good "FROM python:3.13\nRUN pip install --no-cache-dir flask==3.1.0\n";
    ST312 Medium warn ["C25"] ["hadolint:DL3016", "kics:pip/npm/gem_pin"] "npm installs whatever version there is"
        because "Whoever publishes the next version decides what runs in the image: a taken-over package arrives with the \
                 next build, and npm runs its scripts at once."
        so "Name the version (package@1.2.3), or use npm ci with a lock file."
        bad "FROM node:24\nRUN npm install -g serve\n"
        good "FROM node:24\nRUN npm install -g serve@14.2.4\n";
    ST313 Medium warn ["C25"] ["hadolint:DL3028", "kics:pip/npm/gem_pin"] "gem installs whatever version there is"
        because "Whoever publishes the next version decides what runs in the image: a taken-over package arrives with the \
                 next build."
        so "Name the version: gem install package:1.2.3."
        bad "FROM ruby:3.4\nRUN gem install rake\n"
        good "FROM ruby:3.4\nRUN gem install rake:13.2.1\n";
    ST314 Medium warn ["C25"] ["hadolint:DL3062"] "go builds whatever version there is"
        because "Whoever publishes the next version decides what runs in the image: a taken-over module arrives with the \
                 next build."
        so "Name the version: go install example.com/tool@v1.2.3."
        bad "FROM golang:1.25\nRUN go install example.com/tool@latest\n"
        good "FROM golang:1.25\nRUN go install example.com/tool@v1.2.3\n";
    ST315 Medium warn ["C25"] ["kics:pip/npm/gem_pin"] "npm installs what a moving tag names"
        because "`latest` and its like are moved by whoever publishes: a taken-over package arrives with the next build, \
                 and npm runs its scripts at once."
        so "Name the version: package@1.2.3."
        bad "FROM node:24\nRUN npm install -g serve@latest\n"
        good "FROM node:24\nRUN npm install -g serve@14.2.4\n";
    ST316 Medium warn ["C25"] [] "A tool or a dependency comes in whatever version there is"
        because "Whoever publishes the next version decides what runs in the image: a taken-over package arrives with the \
                 next build."
        so "Name the version, or install what a lock file names."
        bad "FROM rust:1.90\nRUN cargo install ripgrep\n"
        good "FROM rust:1.90\nRUN cargo install --locked ripgrep@14.1.1\n";
    ST321 Low info ["C26"] ["hadolint:DL3035", "kics:Run_Using_Upgrade_Commands", "semgrep:avoid-zypper-update"]
        "zypper upgrades the distribution"
        because "The base image is no longer the one that its tag names, and each build gives another one."
        so "Take a newer base image."
        bad "FROM opensuse:42.3\nRUN zypper --non-interactive dist-upgrade && zypper clean\n"
        good "FROM opensuse:42.3\nRUN zypper --non-interactive install make=4.2.1 && zypper clean\n";
    ST322 Low info ["C26"] ["trivy:DS-0024", "kics:Run_Using_Upgrade_Commands", "semgrep:avoid-apt-get-upgrade",
        "dockle:DKL-DI-0003"] "apt-get upgrades the distribution"
        because "The base image is no longer the one that its tag names, and each build gives another one."
        so "Take a newer base image."
        bad "FROM debian:12\nRUN apt-get update && apt-get -y dist-upgrade && rm -rf /var/lib/apt/lists/*\n"
        good "FROM debian:12\nRUN apt-get update && apt-get -y install make=4.3-* && rm -rf /var/lib/apt/lists/*\n";
    ST323 Low info ["C26"] ["kics:Run_Using_Upgrade_Commands", "semgrep:avoid-apt-get-upgrade",
        "semgrep:avoid-apk-upgrade", "semgrep:avoid-yum-update", "semgrep:avoid-dnf-update",
        "semgrep:avoid-zypper-update"] "All packages of the base are upgraded"
        because "What was tested with the base image is replaced by whatever there is on the day of the build."
        so "Take a newer base image, or upgrade the one package that needs it."
        bad "FROM alpine:3.22\nRUN apk upgrade --no-cache\n"
        good "FROM alpine:3.22\nRUN apk upgrade --no-cache busybox\n";
    ST324 Medium warn ["C27"] ["trivy:DS-0017", "checkov:CKV_DOCKER_5", "kics:Update_Instruction_Alone", "dockle:CIS-DI-0007",
        "CIS:4.7"] "Index of packages fetched in a step of its own"
        because "The step is taken from the cache of layers for as long as its text stays the same, so later steps \
                 install old packages, with old holes, or fail."
        so "Fetch the index in the RUN that installs."
        bad "FROM debian:12\nRUN apt-get update\nRUN apt-get install -y --no-install-recommends make=4.3-*\n"
        good "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-* && rm -rf /var/lib/apt/lists/*\n";
    ST331 Low info ["C28"] ["hadolint:DL3015", "trivy:DS-0029", "kics:APT-GET_Not_Avoiding",
        "semgrep:missing-no-install-recommends", "CIS:4.3"] "apt-get installs what is only recommended"
        because "Packages that nobody asked for make the image larger and give an attacker more to work with."
        so "Add --no-install-recommends, and name what you need."
        bad "FROM debian:12\nRUN apt-get update && apt-get install -y make=4.3-* && rm -rf /var/lib/apt/lists/*\n"
        good "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-* && rm -rf /var/lib/apt/lists/*\n";
    ST332 Low info ["C29"] ["hadolint:DL3014", "trivy:DS-0021", "kics:Missing_-y", "semgrep:missing-assume-yes-switch"]
        "apt-get asks a question that nobody answers"
        because "A build has no terminal: the step fails as soon as there is something to confirm."
        so "Add -y."
        bad "FROM debian:12\nRUN apt-get update && apt-get install --no-install-recommends make=4.3-* && rm -rf /var/lib/apt/lists/*\n"
        good "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-* && rm -rf /var/lib/apt/lists/*\n";
    ST333 Low info ["C29"] ["hadolint:DL3030", "kics:Missing_-y", "semgrep:missing-yum-assume-yes-switch"]
        "yum asks a question that nobody answers"
        because "A build has no terminal: the step fails as soon as there is something to confirm."
        so "Add -y."
        bad "FROM centos:7\nRUN yum install make-3.82 && yum clean all\n"
        good "FROM centos:7\nRUN yum install -y make-3.82 && yum clean all\n";
    ST334 Low info ["C29"] ["hadolint:DL3034", "kics:Missing_-y"] "zypper asks a question that nobody answers"
        because "A build has no terminal: the step fails as soon as there is something to confirm."
        so "Add -y, or --non-interactive before the command."
        bad "FROM opensuse:42.3\nRUN zypper install make=4.2.1 && zypper clean\n"
        good "FROM opensuse:42.3\nRUN zypper install -y make=4.2.1 && zypper clean\n";
    ST335 Low info ["C29"] ["hadolint:DL3038", "kics:Missing_-y", "semgrep:missing-dnf-assume-yes-switch"]
        "dnf asks a question that nobody answers"
        because "A build has no terminal: the step fails as soon as there is something to confirm."
        so "Add -y."
        bad "FROM fedora:42\nRUN dnf install make-4.4.1 && dnf clean all\n"
        good "FROM fedora:42\nRUN dnf install -y make-4.4.1 && dnf clean all\n";
    ST336 Low info ["C28"] ["hadolint:DL3015", "kics:APT-GET_Not_Avoiding", "semgrep:missing-no-install-recommends", "CIS:4.3"]
        "One apt-get of several installs what is only recommended"
        because "The step leaves recommended packages out elsewhere, so here they come in unnoticed."
        so "Add --no-install-recommends here as well."
        bad "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-* && apt-get install -y gcc=4:12.* && rm -rf /var/lib/apt/lists/*\n"
        good "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-* && apt-get install -y --no-install-recommends gcc=4:12.* && rm -rf /var/lib/apt/lists/*\n";
    ST341 Low info ["C30"] ["hadolint:DL3009", "semgrep:remove-package-lists", "dockle:DKL-DI-0005"]
        "Lists of packages stay in the image"
        because "Tens of megabytes that go out of date at once; taken away in a later step they still stay in the layer."
        so "End the same RUN with rm -rf /var/lib/apt/lists/*."
        bad "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-*\n"
        good "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-* && rm -rf /var/lib/apt/lists/*\n";
    ST342 Low info ["C30"] ["hadolint:DL3019", "trivy:DS-0025", "semgrep:missing-apk-no-cache", "dockle:DKL-DI-0004"]
        "apk keeps its index in the image"
        because "The index makes the image larger, and later steps install old packages by it."
        so "Use apk add --no-cache; then --update and apk update are not needed."
        bad "FROM alpine:3.22\nRUN apk add make=~4.4\n"
        good "FROM alpine:3.22\nRUN apk add --no-cache make=~4.4\n";
    ST343 Low info ["C30"] ["hadolint:DL3032", "trivy:DS-0015", "kics:*_clean_all", "semgrep:remove-package-cache"]
        "Cache of yum stays in the image"
        because "It makes the image larger, and nothing uses it; taken away in a later step it still stays in the layer."
        so "End the same RUN with yum clean all."
        bad "FROM centos:7\nRUN yum install -y make-3.82\n"
        good "FROM centos:7\nRUN yum install -y make-3.82 && yum clean all\n";
    ST344 Low info ["C30"] ["hadolint:DL3036", "trivy:DS-0020", "kics:*_clean_all", "semgrep:missing-zypper-clean"]
        "Cache of zypper stays in the image"
        because "It makes the image larger, and nothing uses it; taken away in a later step it still stays in the layer."
        so "End the same RUN with zypper clean."
        bad "FROM opensuse:42.3\nRUN zypper install -y make=4.2.1\n"
        good "FROM opensuse:42.3\nRUN zypper install -y make=4.2.1 && zypper clean\n";
    ST345 Low info ["C30"] ["hadolint:DL3040", "trivy:DS-0019", "kics:*_clean_all", "semgrep:missing-dnf-clean-all"]
        "Cache of dnf stays in the image"
        because "It makes the image larger, and nothing uses it; taken away in a later step it still stays in the layer."
        so "End the same RUN with dnf clean all."
        bad "FROM fedora:42\nRUN dnf install -y make-4.4.1\n"
        good "FROM fedora:42\nRUN dnf install -y make-4.4.1 && dnf clean all\n";
    ST346 Low info ["C30"] ["hadolint:DL3040", "trivy:DS-0019", "trivy:DS-0027", "kics:*_clean_all"]
        "Cache of microdnf stays in the image"
        because "It makes the image larger, and nothing uses it; taken away in a later step it still stays in the layer."
        so "End the same RUN with microdnf clean all."
        bad "FROM rockylinux:9-minimal\nRUN microdnf install -y make-4.3\n"
        good "FROM rockylinux:9-minimal\nRUN microdnf install -y make-4.3 && microdnf clean all\n";
    ST351 Low info ["C31"] ["hadolint:DL3042", "kics:Pip_cache", "semgrep:missing-pip-no-cache-dir"]
        "pip keeps what it has downloaded"
        because "The downloads make the image larger, and nothing uses them."
        so "Use pip install --no-cache-dir, or set PIP_NO_CACHE_DIR=1."
        bad "FROM python:3.13\nRUN pip install flask==3.1.0\n"
        good "FROM python:3.13\nRUN pip install --no-cache-dir flask==3.1.0\n";
    ST352 Low info ["C31"] ["hadolint:DL3060"] "yarn keeps what it has downloaded"
        because "The downloads make the image larger, and nothing uses them; taken away in a later step they still stay in \
                 the layer."
        so "End the same RUN with yarn cache clean."
        bad "FROM node:24\nRUN yarn install --frozen-lockfile\n"
        good "FROM node:24\nRUN yarn install --frozen-lockfile && yarn cache clean\n";
    ST361 Low info ["C32"] ["hadolint:DL3027", "checkov:CKV_DOCKER_9", "kics:Run_Using_apt", "semgrep:prefer-apt-get"]
        "apt in a script"
        because "apt is made for people at a terminal: what it takes and prints may change with each release, as it says \
                 itself."
        so "Use apt-get, or apt-cache."
        bad "FROM debian:12\nRUN apt update && apt install -y --no-install-recommends make=4.3-* && rm -rf /var/lib/apt/lists/*\n"
        good "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-* && rm -rf /var/lib/apt/lists/*\n";
}
