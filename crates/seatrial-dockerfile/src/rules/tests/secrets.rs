//! ST221 to ST228: secrets.

use super::*;

#[test]
fn names_of_variables_tell_of_secrets() {
    check(
        "ST221",
        &[
            "FROM a\nENV DB_PASSWORD=x\n",
            "FROM a\nARG ApiKey_TOKEN\n",
            "FROM a\nENV A=b my_secret=x\n",
            "FROM a\nENV client_key x\n",
        ],
        &[
            "FROM a\nENV PASSWORDS_ARE_BAD=x\n",
            "FROM a\nENV SECRET_FILE=/run/x\n",
            "FROM a\nENV PUBLIC_TOKEN=x\n",
            "FROM a AS b\nARG TOKEN\nFROM c\n",
            "FROM a\nENV MONKEY=x\n",
            "FROM a\nLABEL password=x\n",
        ],
    );
    check(
        "ST222",
        &["FROM a AS b\nARG MY_TOKEN\nFROM c\n", "ARG A_SECRET\nFROM a\n"],
        &["FROM a\nARG MY_TOKEN\n"],
    );
    check(
        "ST223",
        &["FROM a\nENV GPG_KEY=AB12\n", "FROM a\nARG AUTH\n"],
        &["FROM a\nENV GPG_KEYS=AB12\n", "FROM a\nENV AUTHOR=me\n"],
    );
    check(
        "ST224",
        &["FROM a AS b\nENV GPG_KEY=AB12\nFROM c\n"],
        &["FROM a\nENV GPG_KEY=AB12\n"],
    );
    check(
        "ST225",
        &["FROM a\nARG USERNAME=me\n", "FROM a\nARG PRIVATE_NET=1\n"],
        &["FROM a\nARG USER_NAME=me\n", "FROM a\nARG USER=me\n"],
    );
    check(
        "ST226",
        &[
            "FROM a\nENV TOKEN_VERSION=2\n",
            "FROM a\nARG ADMIN_PSW\n",
            "FROM a\nCOPY x /app\nENV HF_TOKEN_PATH=./app/t\n",
            "FROM a\nCOPY x $AWS_CONFIG_FILE\n",
        ],
        &["FROM a AS b\nARG ADMIN_PSW\nFROM c\n", "FROM a\nARG USR1\n"],
    );
}

/// Made of parts, so that no scanner takes this file for a leak.
fn token(prefix: &str, length: usize) -> String {
    prefix.to_owned() + &"a1B2c3D4e5F6g7H8i9J0".repeat(30)[..length]
}

#[test]
fn credentials_are_known_by_their_form_and_never_repeated() {
    let key = format!("-----BEGIN {} KEY-----", "OPENSSH PRIVATE");
    let web = format!("{}.{}.{}", token("eyJ", 20), token("eyJ", 40), token("", 43));
    let aws = format!("AK{}", "IA2E4X6Z8B1D3F5H7K");
    for secret in [
        token("ghp_", 36),
        token("github_pat_", 82),
        token("glpat-", 20),
        token("npm_", 36),
        token("xoxb-", 40),
        token("sk_live_", 24),
        token("AIza", 35),
        token("hf_", 34),
        aws.clone(),
        web.clone(),
    ] {
        for text in [
            format!("FROM a\nRUN login {secret}\n"),
            format!("FROM a\nENV X=\"{secret}\"\n"),
            format!("# {secret}\nFROM a\n"),
            format!("FROM a\nCOPY <<E /x\nkey: {secret}\nE\n"),
        ] {
            let found = judged(&text);
            let found: Vec<_> = found.iter().filter(|finding| finding.rule == "ST227").collect();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(&text[found[0].span.range()], secret);
            assert!(!found[0].message.contains(&secret[..12]), "{}", found[0].message);
        }
    }
    let text = format!("FROM a\nCMD {} --token {}\n", "x".repeat(60), token("ghp_", 36));
    for finding in judged(&text) {
        assert!(!finding.message.contains("ghp_"), "{}", finding.message);
    }
    let text = "FROM a\nENV DB=postgres://app:hunter2@db/x\n";
    assert_eq!(underlined("ST227", text), ["hunter2"]);
    check(
        "ST227",
        &[
            &format!("FROM a\nCOPY <<E /k\n{key}\nE\n"),
            &format!(
                "FROM a\nCOPY <<E /k\n{}\nE\n",
                key.replace("KEY", "KEY BLOCK").replace("OPENSSH", "PGP")
            ),
            &format!("FROM a\nCOPY <<E /k\n{}\nE\n", key.replace("OPENSSH ", "")),
            &format!("FROM a\nENV AWS_SECRET_ACCESS_KEY={}\n", token("", 40)),
            &format!("FROM a\nCOPY <<E /c\naws_secret_access_key = {}\nE\n", token("", 40)),
            &format!(
                "FROM a\nRUN curl https://hooks.slack.com/services/{}\n",
                token("T/", 40)
            ),
            "FROM a\nRUN git clone https://me:s3cr3t@example.com/x\n",
        ],
        &[
            &format!("FROM a\nENV X={}\n", token("ghp_", 20)),
            &format!("FROM a\nENV X=x{}\n", token("ghp_", 36)),
            &format!("FROM a\nENV X=ghp_{}\n", "x".repeat(36)),
            &format!("FROM a\nENV X=AK{}\n", "IAIOSFODNN7EXAMPLE"),
            &format!("FROM a\nENV X={}\n", token("eyJ", 90)),
            "FROM a\nENV DB=postgres://app:$PASS@db/x\n",
            "FROM a\nENV DB=postgres://app:${PASS}@db/x\n",
            "FROM a\nENV DB=postgres://app@db/x\n",
            "FROM a\nENV DB=postgres://app:<password>@db/x\n",
            "FROM a\nRUN curl https://example.com:8443/a@b\n",
            "FROM a\n# -----BEGIN PUBLIC KEY-----\n",
            "FROM a\nENV AWS_SECRET_ACCESS_KEY=${KEY_OF_FORTY_CHARACTERS_FROM_SOMEWHERE}\n",
            &format!("FROM a\nENV AWS_SECRET_ACCESS_KEY={}\n", token("", 41)),
        ],
    );
}

#[test]
fn files_of_credentials_are_not_copied() {
    check_lines(
        "ST228",
        &[
            "COPY .npmrc /root/",
            "COPY ssh/id_rsa /k",
            "ADD .env .",
            "COPY .ssh /root/.ssh",
            "COPY .aws/credentials /c",
            "COPY .docker/config.json /c",
            "COPY [\"tls/server.key\", \"/k\"]",
            "COPY a b .env.production /x/",
            "COPY service-account-1.json /x",
            "COPY .kube/config /x",
        ],
        &[
            "COPY .env.example .env",
            "COPY id_rsa.pub /k",
            "COPY .ssh/known_hosts /k",
            "COPY ca.pem /etc/ssl/",
            "COPY certs/fullchain.pem /c",
            "COPY --from=x /root/.npmrc /root/",
            "COPY keys/README.md /k",
            "COPY app.environment /k",
            "COPY config.json /k",
        ],
    );
}
