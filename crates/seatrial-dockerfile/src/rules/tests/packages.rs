//! Package managers: what counts as a call, as a version, as an answer and as clean.

use super::*;

fn run(rule: &str, bad: &[&str], good: &[&str]) {
    let put = |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| format!("RUN {line}")).collect() };
    let (bad, good) = (put(bad), put(good));
    let bad: Vec<&str> = bad.iter().map(String::as_str).collect();
    let good: Vec<&str> = good.iter().map(String::as_str).collect();
    check_lines(rule, &bad, &good);
}

#[test]
fn a_call_is_what_runs_and_not_what_is_written() {
    run(
        "ST301",
        &[
            "apt-get install zip",
            "sudo -E apt-get -y install zip",
            "DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install zip",
            "sh -c 'apt-get install zip'",
            "p='zip tar'; apt-get install $p",
            "if true; then apt-get install zip; fi",
            "echo zip | xargs apt-get install tar",
            "<<E\napt-get install zip\nE",
            "[\"apt-get\", \"install\", \"zip\"]",
            "apt-get $quiet install zip",
        ],
        &[
            "echo apt-get install zip",
            "true # apt-get install zip",
            "apt-get install -t install zip=3",
            "apt-get update install",
            "apt-get install",
            "echo 'apt-get install zip' > /usr/local/bin/install-zip",
            "cat > /x <<E\napt-get install zip\nE",
        ],
    );
    check(
        "ST301",
        &[],
        &[
            "FROM debian\nCMD apt-get install zip\n",
            "FROM debian\nLABEL a=\"apt-get install zip\"\n",
        ],
    );
}

#[test]
fn versions_of_the_distributions_packages() {
    run(
        "ST301",
        &["apt-get install a=1 b", "apt-get install -y a:arm64"],
        &[
            "apt-get install a=1 b=$V c/stable ./d.deb e-",
            "apt-get install --target-release testing a=1",
        ],
    );
    run(
        "ST302",
        &["apk add a", "apk --update add -t .deps a b=1", "apk add a@edge"],
        &[
            "apk add 'a>1' b=~1 c~1 /d.apk !e",
            "apk add --virtual .deps -X https://example.com a=1",
            "apk del a",
        ],
    );
    run(
        "ST303",
        &[
            "yum -y install a-b",
            "yum module install a",
            "yum --enablerepo epel install a",
        ],
        &[
            "yum install a-1 b-c-2:3.4 https://example.com/d.rpm @e",
            "yum module install a:1",
            "yum groupinstall a",
        ],
    );
    run(
        "ST304",
        &["zypper in a", "zypper -n install --from repo a"],
        &[
            "zypper in a=1 'b>=2'",
            "zypper in -t pattern devel",
            "zypper install ./a.rpm",
        ],
    );
    run(
        "ST305",
        &["dnf in a", "microdnf install a b-1"],
        &["dnf install a-1", "dnf group install a", "dnf5 install a-b-1"],
    );
    run(
        "ST306",
        &["apt install a", "aptitude install a"],
        &["apt install a=1", "apt-get install a"],
    );
}

#[test]
fn versions_of_the_languages_packages() {
    run(
        "ST311",
        &[
            "pip3.12 install a",
            "python3 -m pip install -U a",
            "pip install -r a.txt b",
            "pip install git+https://me@example.com/a.git",
            "pip install 'a @ git+https://example.com/a.git'",
        ],
        &[
            "pip install -r a.txt -e b -t c",
            "pip install -c d a",
            "pip install a==1 'b<2' ./c d.whl https://example.com/e.zip",
            "pip install git+https://example.com/a.git@v1#egg=a",
            "pip download a",
            "pipenv install a",
        ],
    );
    run(
        "ST312",
        &[
            "npm i -g a",
            "npm install @a/b",
            "npm add git+https://example.com/a.git",
            "npm install a/b",
        ],
        &[
            "npm ci",
            "npm install",
            "npm i a@1 @b/c@2 ./d e.tgz https://example.com/f git+https://example.com/g#1 h/i#2",
            "npm run install a",
            "npm --prefix a install",
        ],
    );
    run(
        "ST315",
        &["npm i a@latest", "npm i @a/b@next"],
        &["npm i a@1", "npm i @a/b", "npm dist-tag add a@1 latest"],
    );
    run(
        "ST313",
        &["gem install a", "gem i a:1 b", "gem install a -- --with-b=c"],
        &[
            "gem install a:1 -- b",
            "gem install a -v 1",
            "gem install a -v1 --no-document",
            "gem install ./a.gem",
        ],
    );
    run(
        "ST314",
        &[
            "go install example.com/a",
            "go install -tags b example.com/a@latest",
            "go get example.com/a@v1 example.com/b",
            "go run example.com/a",
            "CGO_ENABLED=0 go install example.com/a@master",
        ],
        &[
            "go install ./... ",
            "go run example.com/a@v1 b",
            "go run main.go",
            "go build example.com/a",
            "go install -ldflags x example.com/a@v1",
            "go install cmd/vet",
        ],
    );
    run(
        "ST316",
        &[
            "cargo install a",
            "cargo +nightly install a",
            "cargo install --git https://example.com/a a",
            "pipx install a",
            "uv pip install --system a",
            "pnpm add -g a@latest",
            "yarn global add @a/b",
            "composer require a/b",
            "conda install -n base a",
        ],
        &[
            "cargo install a@1",
            "cargo install --version 1 a",
            "cargo install --path .",
            "cargo build a",
            "pipx install a==1",
            "uv pip install -r a.txt",
            "uv tool install a==1",
            "uv sync",
            "pnpm install",
            "pnpm add @a/b@1",
            "composer require a/b 1.2 c/d:^2",
            "conda install --file a.txt",
            "mamba install -c forge a=1",
        ],
    );
}

#[test]
fn upgrades_and_indexes_for_nothing() {
    run("ST321", &["zypper -n dup"], &["zypper -n patch a"]);
    run(
        "ST322",
        &["apt-get -y dist-upgrade", "apt full-upgrade"],
        &["apt-get -y upgrade"],
    );
    run(
        "ST323",
        &[
            "apt-get -y upgrade",
            "apk upgrade",
            "yum -y update",
            "dnf upgrade -y",
            "zypper up",
        ],
        &["apk upgrade a", "yum update -y a", "apt-get update", "apk update"],
    );
    run(
        "ST324",
        &[
            "apt-get update",
            "apt update && apk add a",
            "apt-get install -y a=1 && apt-get update",
            "apk update; echo apk add a",
            "zypper refresh",
        ],
        &[
            "apt update && apt-get install a",
            "apt-get update && apt-get install a && apt-get update",
            "apk update && apk upgrade",
            "apt-get update; if true; then apt-get install a; fi",
            "<<E\napt-get update\napt-get install a\nE",
            "zypper ref && zypper in a",
        ],
    );
}

#[test]
fn questions_and_recommended_packages() {
    run(
        "ST332",
        &[
            "apt-get install a",
            "apt-get -q install a",
            "apt-get -oDebug::x=yes install a",
            "apt-get autoremove",
        ],
        &[
            "apt-get -yq install a",
            "apt-get install a --assume-yes",
            "apt-get -qq install a",
            "apt-get -q -q install a",
            "apt-get -q=2 install a",
            "apt-get -o APT::Get::Assume-Yes=true install a",
            "yes | apt-get install a",
            "apt-get install -s a",
            "apt-get update",
        ],
    );
    run(
        "ST333",
        &["yum install a"],
        &["yum -y install a", "yum install --assumeyes a", "yum info a"],
    );
    run(
        "ST334",
        &["zypper in a", "zypper dup"],
        &[
            "zypper -n in a",
            "zypper --non-interactive in a",
            "zypper in -y a",
            "zypper refresh",
        ],
    );
    run(
        "ST335",
        &["dnf install a", "microdnf update"],
        &["dnf -y install a", "dnf --setopt=assumeyes=1 install a"],
    );
    run(
        "ST331",
        &[
            "apt-get install -y a",
            "apt-get -o APT::Install-Recommends=true install a",
        ],
        &[
            "apt-get install --no-install-recommends a",
            "apt-get install a --no-install-recommends",
            "apt-get -o APT::Install-Recommends=false install a",
            "apt-get install -o apt::install-recommends=0 a",
            "apt install a",
        ],
    );
    run(
        "ST336",
        &["apt-get install --no-install-recommends a; apt-get install b"],
        &["apt-get install a; apt-get install b"],
    );
}

#[test]
fn what_stays_in_a_layer() {
    run(
        "ST341",
        &[
            "apt-get update",
            "rm -rf /var/lib/apt/lists/* && apt-get update",
            "apt-get update && rm /var/lib/apt/lists/x",
            "apt-get update && echo rm -rf /var/lib/apt/lists",
            "--mount=type=cache,target=/var/cache/apt apt-get update",
            "--mount=type=bind,target=/var/lib/apt apt-get update",
        ],
        &[
            "apt-get update && rm -rf /var/lib/apt/lists",
            "apt-get update && rm -r /var/lib/apt/lists/* /tmp/x",
            "apt update; rm -fr /var/lib/{apt,dpkg}/lists/",
            "apt-get update && find /var/lib/apt/lists -type f -delete",
            "--mount=type=cache,target=/var/lib/apt/lists apt-get update",
            "--mount=target=/var/lib/apt,type=tmpfs apt update",
        ],
    );
    let install = "RUN apt-get update && apt-get install a\n";
    check(
        "ST341",
        &[
            &format!("FROM a AS b\n{install}FROM B\n"),
            &format!("FROM a AS b\n{install}FROM b AS c\nFROM c\n"),
            &format!("ARG X=b\nFROM a AS b\n{install}FROM $X\n"),
            install,
            "FROM a\nRUN rm /etc/apt/apt.conf.d/docker-clean\nRUN --mount=type=cache,target=/var/lib/apt apt-get update\n",
        ],
        &[
            &format!("FROM a AS b\n{install}FROM a\nCOPY --from=b /x /\n"),
            "FROM a AS b\nRUN rm /etc/apt/apt.conf.d/docker-clean\n\
             FROM a\nRUN --mount=type=cache,target=/var/lib/apt apt-get update\n",
        ],
    );
    run(
        "ST342",
        &["apk add a", "apk -U add a && rm -rf /var/cache/apk/*"],
        &[
            "apk --no-cache add a",
            "apk add a --no-cache",
            "--mount=type=cache,target=/var/cache/apk apk add a",
        ],
    );
    run(
        "ST343",
        &["yum install a", "yum clean all; yum install a"],
        &[
            "yum install a; yum clean all",
            "yum install a && rm -rf /var/cache/yum",
            "yum info a",
        ],
    );
    run(
        "ST344",
        &["zypper in a"],
        &[
            "zypper in a; zypper cc -a",
            "--mount=type=cache,target=/var/cache/zypp zypper in a",
        ],
    );
    run(
        "ST345",
        &["dnf install a; microdnf clean all", "dnf upgrade"],
        &["dnf in a && dnf clean all", "dnf in a && rm -rf /var/cache/*"],
    );
    run(
        "ST346",
        &["microdnf install a"],
        &["microdnf install a; microdnf clean all"],
    );
    run(
        "ST351",
        &[
            "pip install a",
            "PIP_NO_CACHE_DIR=0 pip install a",
            "PIP_NO_CACHE_DIR=1 true && pip install a",
            "rm -rf ~/.cache/pip; pip install a",
        ],
        &[
            "pip --no-cache-dir install a",
            "PIP_NO_CACHE_DIR=1 pip install a",
            "export PIP_NO_CACHE_DIR=on; pip install a",
            "pip install a && rm -rf /root/.cache",
            "--mount=type=cache,target=/root/.cache/pip pip install a",
            "pip list",
        ],
    );
    check(
        "ST351",
        &[
            "FROM a\nENV PIP_NO_CACHE_DIR=off\nRUN pip install a\n",
            "FROM a AS b\nENV PIP_NO_CACHE_DIR=1\nFROM c\nRUN pip install a\n",
        ],
        &[
            "FROM a\nENV PIP_NO_CACHE_DIR=1\nRUN pip install a\n",
            "FROM a AS b\nENV PIP_NO_CACHE_DIR=1\nFROM b\nRUN pip install a\n",
        ],
    );
    run(
        "ST352",
        &["yarn", "yarn install", "yarn cache clean && yarn add a"],
        &[
            "yarn && yarn cache clean",
            "yarn build",
            "yarn install; rm -rf /usr/local/share/.cache/yarn",
        ],
    );
    run(
        "ST361",
        &["apt update", "[\"apt\", \"install\", \"a\"]"],
        &["apt-get update", "echo apt", "apt-cache show a"],
    );
}

/// A text with all corrections of a rule.
fn corrected(rule: &str, text: &str) -> String {
    let mut found = judged(text);
    found.retain(|finding| finding.rule == rule);
    crate::fix::apply(text, &found)
}

#[test]
fn corrections_change_the_call_and_nothing_else() {
    for (rule, before, after) in [
        ("ST332", "apt-get \\\n  install a", "apt-get \\\n  install -y a"),
        (
            "ST331",
            "apt-get install -y a",
            "apt-get install --no-install-recommends -y a",
        ),
        ("ST342", "set -e; apk add a", "set -e; apk add --no-cache a"),
        (
            "ST351",
            "python -m pip install a",
            "python -m pip install --no-cache-dir a",
        ),
        ("ST334", "sh -c 'zypper in a'", "sh -c 'zypper in -y a'"),
        (
            "ST361",
            "apt update && apt install -y --no-install-recommends a=1",
            "apt-get update && apt-get install -y --no-install-recommends a=1",
        ),
        ("ST458", "useradd -u 1234567 a", "useradd --no-log-init -u 1234567 a"),
        // apt-get would be told of more.
        (
            "ST361",
            "apt update && apt install -y a=1",
            "apt update && apt install -y a=1",
        ),
        ("ST361", "apt list", "apt list"),
        (
            "ST332",
            "[\"apt-get\", \"install\", \"a\"]",
            "[\"apt-get\", \"install\", \"a\"]",
        ),
        ("ST332", "v=install; apt-get $v a", "v=install; apt-get $v a"),
    ] {
        let text = |line: &str| format!("FROM debian\nRUN {line}\n");
        assert_eq!(corrected(rule, &text(before)), text(after), "{rule}");
    }
}

#[test]
fn findings_stand_where_the_package_stands() {
    let text = "FROM debian\nRUN apt-get update && apt-get install -y \\\n  zip=1 \\\n  tar\n";
    assert_eq!(underlined("ST301", text), ["tar"]);
    assert_eq!(underlined("ST331", text), ["install"]);
    assert_eq!(underlined("ST341", text), ["apt-get update"]);
}
