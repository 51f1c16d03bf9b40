//! ST210 to ST213, ST230, ST240 to ST259 and ST400 to ST420: commands and their harmless twins.

use super::*;

#[test]
fn sudo_is_seen_where_it_runs_something() {
    check_lines(
        "ST210",
        &[
            "RUN sudo make",
            "RUN a && /usr/bin/sudo -u root -E make",
            "RUN if a; then sudo b; fi",
            "RUN x | xargs sudo rm",
            "RUN sh -c 'sudo make'",
            "RUN [\"sudo\", \"make\"]",
            "RUN \\sudo make",
        ],
        &[
            "RUN apt-get install -y sudo",
            "RUN echo 'sudo make' # sudo x",
            "RUN usermod -aG sudo app",
            "RUN cat <<EOF > /readme\nsudo make\nEOF",
            "CMD sudo make",
        ],
    );
    assert_eq!(
        underlined("ST210", "FROM debian\nRUN a && \\\n  env A=b sudo -E make\n"),
        ["sudo"]
    );
}

#[test]
fn passwords_are_seen_and_locks_are_not() {
    check_lines(
        "ST211",
        &[
            "RUN echo \"app:$P\" | chpasswd",
            "RUN chpasswd <<EOF\napp:x\nEOF",
            "RUN echo x | passwd --stdin app",
            "RUN printf 'x\\nx\\n' | passwd app",
            "RUN useradd -m -p '$6$abc' app",
            "RUN usermod --password=abc app",
        ],
        &[
            "RUN passwd -l app",
            "RUN usermod -p '!' app",
            "RUN useradd app -p '*'",
            "RUN cat /etc/passwd | grep app",
            "RUN echo chpasswd",
        ],
    );
    check_lines(
        "ST212",
        &["RUN passwd -d app", "RUN passwd --delete app", "RUN useradd -p '' app"],
        &["RUN passwd -l app", "RUN userdel app", "RUN useradd -d /home/app app"],
    );
}

#[test]
fn modes_with_special_bits_are_seen_in_digits_and_letters() {
    check_lines(
        "ST213",
        &[
            "RUN chmod 4755 /a",
            "RUN chmod -R 02755 /a",
            "RUN chmod u+s,g-w /a",
            "RUN chmod +s /a",
            "RUN chmod ug=rxs /a",
            "RUN install -m 6755 a /b",
            "RUN install --mode=u=rwxs a /b",
            "RUN find / -name a -exec chmod u+s {} +",
        ],
        &[
            "RUN chmod 755 /a",
            "RUN chmod 1777 /tmp",
            "RUN chmod 3777 /run/a",
            "RUN chmod u-s /a",
            "RUN chmod a-s,u+x /a",
            "RUN chmod +x settings.sh",
            "RUN mkdir -p /a && chmod g+s /a",
            "RUN find /a -type d -exec chmod g+s {} +",
            "RUN find /a -type d | xargs chmod g+s",
            "RUN install -d -m 2775 /a",
            "COPY --chmod=0755 a /b",
            "RUN find / -perm -4000 -exec chmod a-s {} +",
        ],
    );
}

#[test]
fn credentials_in_commands_are_seen_and_variables_are_not() {
    check_lines(
        "ST230",
        &[
            "RUN git clone https://u:p4ss@e.com/a",
            "RUN pip install git+https://u:p4ss@e.com/a@1",
            "RUN docker login -u u -p p4ss e.com",
            "RUN curl -u u:p4ss https://e.com",
            "RUN npm config set //e.com/:_authToken abc",
            "RUN npm config set //e.com/:_authToken=abc",
            "RUN aws configure set aws_secret_access_key abc",
        ],
        &[
            "RUN git clone https://e.com/a",
            "RUN git clone https://u@e.com/a",
            "RUN git clone https://u:${TOKEN}@e.com/a",
            "RUN docker login -u u --password-stdin e.com < /f",
            "RUN curl -u u:$P https://e.com",
            "RUN npm config set //e.com/:_authToken $T",
        ],
    );
}

#[test]
fn certificates_are_checked_by_downloaders() {
    check_lines(
        "ST240",
        &[
            "RUN curl -k https://e",
            "RUN curl -fsSLk https://e",
            "RUN curl --insecure https://e",
            "RUN a | env X=y curl -sk https://e",
            "RUN curl https://e -o f -k",
            "CMD curl -k https://e",
        ],
        &[
            "RUN curl https://e",
            "RUN curl -okey https://e",
            "RUN curl -H k https://e",
            "RUN curl -o -k https://e",
            "RUN curl https://e | grep -k x",
            "RUN echo curl -k",
            "RUN curl --keepalive-time 5 https://e",
        ],
    );
    check_lines(
        "ST241",
        &[
            "RUN wget --no-check-certificate https://e",
            "RUN wget -q --no-check-cert https://e",
        ],
        &[
            "RUN wget https://e | grep -- --no-check-certificate",
            "RUN wget --no-clobber https://e",
        ],
    );
}

#[test]
fn certificates_are_checked_by_package_managers() {
    check_lines(
        "ST242",
        &[
            "RUN pip install --trusted-host e.com a",
            "RUN pip3.12 install --trusted-host=e.com a",
            "RUN python3 -m pip --trusted-host e.com install a",
            "RUN pip config set global.trusted-host e.com",
        ],
        &[
            "RUN pip install a | grep -- --trusted-host",
            "RUN pip install trusted",
            "RUN echo pip --trusted-host e",
        ],
    );
    check_lines(
        "ST251",
        &[
            "RUN npm config set strict-ssl false",
            "RUN yarn config set \"strict-ssl\"=false -g",
            "RUN npm install --strict-ssl=false",
            "RUN npm set strict-ssl false",
        ],
        &[
            "RUN npm config set strict-ssl true || false",
            "RUN npm install strict-ssl false",
            "RUN npm config get strict-ssl",
            "RUN npm config set audit false",
        ],
    );
    check_lines(
        "ST255",
        &[
            "RUN git -c http.sslVerify=false clone https://e/a",
            "RUN git config --global http.sslverify 0",
            "RUN git config http.https://e/.sslVerify off",
            "RUN composer config -g disable-tls true",
            "RUN conda config --set ssl_verify false",
            "ENV BUNDLE_SSL_VERIFY_MODE=0",
            "ENV GOINSECURE=e.com/*",
        ],
        &[
            "RUN git config --global http.sslVerify true",
            "RUN git commit -m http.sslVerify=false-is-bad",
            "RUN conda config --set ssl_verify true",
            "ENV BUNDLE_SSL_VERIFY_MODE=1",
        ],
    );
}

#[test]
fn variables_switch_checks_off_in_the_image_and_in_a_command() {
    for (rule, name, value) in [
        ("ST243", "PYTHONHTTPSVERIFY", "0"),
        ("ST244", "NODE_TLS_REJECT_UNAUTHORIZED", "0"),
        ("ST250", "NPM_CONFIG_STRICT_SSL", "false"),
        ("ST252", "GIT_SSL_NO_VERIFY", "true"),
        ("ST254", "PIP_TRUSTED_HOST", "e.com"),
    ] {
        let bad = [
            format!("ENV {name}={value}"),
            format!("ENV {name} {value}"),
            format!("ENV A=b {name}=\"{value}\""),
            format!("ARG {name}={value}"),
            format!("ENV V={value}\u{1}ENV {name}=$V"),
            format!("RUN {name}='{value}' a"),
            format!("RUN export A=b {name}={value} && a"),
            format!("RUN env {name}={value} a"),
            format!("RUN sh -c '{name}={value} a'"),
        ];
        let good = [
            format!("ENV X{name}={value}"),
            format!("ARG {name}"),
            format!("RUN unset {name}"),
            format!("RUN echo {name}={value}"),
            format!("LABEL {name}={value}"),
        ];
        let all = |texts: &[String]| -> Vec<String> { texts.to_vec() };
        let (bad, good) = (all(&bad), all(&good));
        check_lines(
            rule,
            &bad.iter().map(String::as_str).collect::<Vec<_>>(),
            &good.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
}

#[test]
fn signatures_of_packages_are_checked() {
    check_lines(
        "ST245",
        &["RUN apk add --allow-untrusted a", "RUN apk --allow-untrusted add a"],
        &["RUN apk add a | grep -- --allow-untrusted"],
    );
    check_lines(
        "ST246",
        &[
            "RUN apt-get -y --allow-unauthenticated install a",
            "RUN apt-get -o APT::Get::AllowUnauthenticated=true install a",
            "RUN apt-get -oAcquire::AllowInsecureRepositories=1 update",
            "RUN apt-get -o Acquire::https::Verify-Peer=false update",
        ],
        &[
            "RUN apt-get install a",
            "RUN apt-get -o APT::Get::AllowUnauthenticated=false install a",
        ],
    );
    check_lines(
        "ST247",
        &["RUN dnf install -y --nogpgcheck a", "RUN yum --nogpgcheck -y install a"],
        &["RUN dnf install a", "RUN echo --nogpgcheck"],
    );
    check_lines(
        "ST248",
        &["RUN rpm -i --nosignature a.rpm", "RUN rpm --nodigest -Uvh a.rpm"],
        &["RUN rpm -i a.rpm || echo --noverify"],
    );
    check_lines(
        "ST249",
        &["RUN apt-get --force-yes install a"],
        &["RUN apt-get install --yes a"],
    );
    check_lines(
        "ST253",
        &[
            "RUN yum-config-manager --save --setopt=\\*.sslverify=0",
            "RUN dnf config-manager --setopt base.sslverify=False --save",
        ],
        &[
            "RUN yum-config-manager --setopt=sslverify=1",
            "RUN dnf config-manager --setopt=proxy=x",
        ],
    );
    check_lines(
        "ST256",
        &[
            "RUN echo 'deb [trusted=yes] http://e ./' >> /etc/apt/sources.list",
            "RUN echo 'deb [trusted=yes] http://e ./' | tee /etc/apt/sources.list.d/a.list",
            "RUN cat <<EOF > /etc/yum.repos.d/a.repo\n[a]\ngpgcheck=0\nEOF",
            "RUN printf '[a]\\ngpgcheck=0\\n' > /etc/yum.repos.d/a.repo",
            "RUN sed -i 's/gpgcheck=1/gpgcheck=0/' /etc/yum.conf",
            "RUN zypper --no-gpg-checks install a",
        ],
        &[
            "RUN echo 'gpgcheck=0 is bad'",
            "RUN printf 'repo_gpgcheck=0\\n' > /etc/yum.repos.d/a.repo",
            "RUN echo 'deb [trusted=yes] file:///made ./' > /etc/apt/sources.list.d/a.list",
            "RUN grep gpgcheck=0 /etc/yum.conf",
        ],
    );
}

#[test]
fn packages_come_from_one_place_that_does_not_move() {
    check_lines(
        "ST257",
        &[
            "RUN pip install --extra-index-url https://e/simple a",
            "RUN pip install -i http://pypi.org/simple a",
            "RUN pip install --index-url=https://e.com/simple a",
            "ENV PIP_EXTRA_INDEX_URL=https://e/simple",
            "RUN npm config set registry https://e.com/",
            "RUN npm install --registry=http://registry.npmjs.org a",
            "RUN add-apt-repository -y ppa:somebody/a",
        ],
        &[
            "RUN pip install -i https://pypi.org/simple a",
            "RUN npm install --registry https://registry.npmjs.org a",
            "ENV GOPROXY=https://proxy.golang.org,direct",
            "RUN echo --extra-index-url https://e",
        ],
    );
    check_lines(
        "ST258",
        &["RUN curl https://e | apt-key add -", "RUN apt-key adv --recv-keys 1"],
        &["RUN apt-key list", "RUN gpg --dearmor -o /etc/apt/keyrings/a.gpg a.asc"],
    );
    check_lines(
        "ST259",
        &[
            "RUN pip install git+https://e.com/a/b.git",
            "RUN pip install git+ssh://git@e.com/a/b.git@main",
            "RUN pip install 'a @ git+https://e.com/a/b'",
            "RUN pip install https://github.com/a/b/archive/master.zip",
            "RUN npm i git+https://e.com/a/b.git",
            "RUN go install e.com/a/b@master",
            "RUN cargo install --git https://e.com/a/b",
        ],
        &[
            "RUN pip install git+https://e.com/a/b.git@v1.2.3",
            "RUN pip install git+https://e.com/a/b@0a1b2c3#egg=b",
            "RUN pip install https://github.com/a/b/archive/v1.zip",
            "RUN npm i git+https://e.com/a/b.git#v1",
            "RUN go install e.com/a/b@v1.2.3",
            "RUN cargo install --git https://e.com/a/b --rev 0a1b",
            "RUN git clone git://e.com/a",
        ],
    );
}

#[test]
fn an_option_that_switches_a_check_off_is_taken_away() {
    let corrected = |text: &str| {
        let findings = judged(text);
        let mut ours = findings.iter().filter(|finding| finding.rule.starts_with("ST24"));
        let fix = ours.find_map(|finding| finding.fix.as_deref());
        fix.map(|fix| {
            let mut text = text.to_owned();
            for edit in &fix.edits {
                text.replace_range(edit.span.range(), &edit.text);
            }
            assert!(!judged(&text).iter().any(|finding| finding.rule.starts_with("ST24")));
            text
        })
    };
    for (text, expected) in [
        ("curl -k https://e", Some("curl https://e")),
        (
            "a && \\\n  wget \\\n    --no-check-certificate \\\n  https://e",
            Some("a && \\\n  wget \\\n    \\\n  https://e"),
        ),
        ("apk add a --allow-untrusted", Some("apk add a")),
        ("pip install --trusted-host=e a", Some("pip install a")),
        ("curl -sk https://e", None),
        ("pip install --trusted-host e a", None),
        ("curl '-k' https://e", None),
        ("[\"curl\", \"-k\"]", None),
    ] {
        let text = format!("FROM debian\nRUN {text}\n");
        let expected = expected.map(|expected| format!("FROM debian\nRUN {expected}\n"));
        assert_eq!(corrected(&text), expected);
    }
}
