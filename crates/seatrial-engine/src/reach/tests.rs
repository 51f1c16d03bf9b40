use super::*;

fn way(host: &str, folder: Option<&str>, allow_plain: bool) -> Result<Way, String> {
    Way::parse(Some(host), folder.map(Path::new), allow_plain).map_err(|problem| problem.to_string())
}

#[test]
fn an_address_says_how_the_engine_is_reached() {
    let tls = |host: &str, port| {
        Ok(Way::Tls {
            host: host.to_owned(),
            port,
            folder: PathBuf::from("/c"),
        })
    };
    assert_eq!(way("tcp://box:2377", Some("/c"), false), tls("box", 2377));
    assert_eq!(way("tcp://box", Some("/c"), false), tls("box", 2376));
    assert_eq!(way("tcp://[::1]:1/", Some("/c"), false), tls("::1", 1));
    assert_eq!(way("/x.sock", None, false), Ok(Way::Socket("/x.sock".to_owned())));
    assert_eq!(
        Way::parse(None, None, false).unwrap(),
        Way::Socket(DEFAULT_HOST.to_owned())
    );
    for bad in [
        "tcp://",
        "tcp://box:x",
        "tcp://a b",
        "tcp://box:99999",
        "http://box",
        "npipe:////x",
        "tcp://u@box",
    ] {
        assert!(way(bad, Some("/c"), true).is_err(), "{bad}");
    }
}

#[test]
fn without_tls_an_engine_is_reached_on_loopback_alone_and_when_asked_for() {
    assert!(way("tcp://127.0.0.1:2375", None, true).is_ok());
    assert!(way("tcp://[::1]", None, true).is_ok());
    for (host, allowed) in [
        ("tcp://127.0.0.1:2375", false),
        ("tcp://10.0.0.1:2375", true),
        ("tcp://box", true),
    ] {
        let refusal = way(host, None, allowed).unwrap_err();
        assert!(refusal.contains("docker.cert_path"), "{refusal}");
    }
}

#[test]
fn ssh_gets_words_and_no_options_of_ours_come_from_an_address() {
    let words = |host: &str| {
        let Way::Ssh(ssh) = way(host, None, false).unwrap() else {
            panic!("{host}");
        };
        let command = ssh.command();
        let words = command
            .as_std()
            .get_args()
            .map(|word| word.to_str().unwrap().to_owned());
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        words("ssh://me@box:2222/run/x.sock"),
        "-T -o BatchMode=yes -o ConnectTimeout=20 -l me -p 2222 -- box docker --host unix:///run/x.sock system dial-stdio"
    );
    assert_eq!(
        words("ssh://box"),
        "-T -o BatchMode=yes -o ConnectTimeout=20 -- box docker system dial-stdio"
    );
    for bad in [
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://-l@box",
        "ssh://box/a;b",
        "ssh://box/$(x)",
        "ssh://b ox",
        "ssh://a@b@c d",
    ] {
        assert!(way(bad, None, false).is_err(), "{bad}");
    }
}

#[test]
fn a_folder_without_certificates_is_named_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |folder: &Path| proofs(folder).unwrap_err().to_string();
    assert!(refusal(folder.path()).contains("ca.pem"));
    std::fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
    assert!(refusal(folder.path()).contains("holds no certificate"));
}
