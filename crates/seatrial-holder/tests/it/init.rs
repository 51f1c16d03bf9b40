//! Process 1 of a guest.

use std::{
    io::{Read, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use crate::bench::{NONCE, Ran, feed, feed_and_stay, feed_when, guest, holder, holder_as_init};

const MINUTE: [&str; 2] = ["--deadline-s", "60"];

fn run(script: &str) -> Ran {
    guest(&mut holder_as_init(), &MINUTE, script)
}

#[test]
fn the_code_of_the_guest_is_ours() {
    let ran = run("echo out; echo err >&2; exit 7");
    assert_eq!((ran.code, ran.stdout_text().as_str()), (7, "out\n"));
    assert!(ran.stderr.starts_with("err\n"));
    assert_eq!(ran.report("code"), "7");
    assert_eq!(ran.report("signal"), "0");
    assert_eq!(ran.report("start_error"), "-");
    assert_eq!(ran.report("deadline"), "0");
    assert!(ran.report("wall_us").parse::<u64>().unwrap() > 0);
    assert_ne!(ran.report("cpu_src"), "-");
}

#[test]
fn a_guest_of_another_user_has_no_capability_and_its_own_streams_and_leaves_init_alone() {
    if !rustix::process::getuid().is_root() {
        return; // there is no other user to become
    }
    let options = ["--deadline-s", "60", "--user", "65532:65533"];
    let ran = guest(
        &mut holder_as_init(),
        &options,
        "echo $(id -u):$(id -g):$(id -G) $(grep -cE 'Cap(Inh|Prm|Eff|Bnd|Amb):.0000000000000000' /proc/self/status)
         echo again > /dev/stdout
         kill -STOP 1 2>/dev/null || kill -KILL 1 2>/dev/null || echo refused
         cat /proc/1/environ 2>/dev/null || echo closed
         sleep 1000 &",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = "65532:65533:65533 5\nagain\nrefused\nclosed\n";
    assert_eq!(ran.stdout_text(), told, "{}", ran.stderr);
    assert_eq!(ran.report("killed"), "1", "init may end what is another's");
}

#[test]
fn no_guest_becomes_root() {
    for user in ["0:1", "1:0", "4294967295:1", "1:4294967295", "1", "a:b", "1:", "-1:1"] {
        let ran = guest(&mut holder_as_init(), &["--deadline-s", "60", "--user", user], "id");
        assert_eq!((ran.code, ran.stdout_text().as_str()), (2, ""), "{user}");
    }
}

#[test]
fn a_signal_counts_from_128() {
    let ran = run("kill -9 $$");
    assert_eq!(ran.code, 137);
    assert_eq!((ran.report("code"), ran.report("signal")), ("137".into(), "9".into()));
}

#[test]
fn what_cannot_be_started_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "no program\n").unwrap();
    let text = text.to_str().unwrap().to_owned();
    let start = |program: &str| {
        let mut init = holder_as_init();
        init.args(["init", "--deadline-s", "60", "--", program]);
        let ran = feed_and_stay(&mut init, format!("{NONCE}\n").as_bytes());
        (ran.code, ran.report("start_error"))
    };
    assert_eq!(start("no-such-program"), (127, "enoent".to_owned()));
    assert_eq!(start("/no/such/program"), (127, "enoent".to_owned()));
    assert_eq!(start("/etc"), (126, "eacces".to_owned()));
    assert_eq!(start(&text), (126, "eacces".to_owned()));
    std::os::unix::fs::chown(&text, None, None).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&text, mode).unwrap();
    assert_eq!(start(&text), (126, "enoexec".to_owned()));
    let mut named = holder_as_init();
    named.args(["init", "--deadline-s", "60", "--", "true", "x"]);
    assert_eq!(feed_and_stay(&mut named, format!("{NONCE}\n").as_bytes()).code, 0);
}

#[test]
fn it_runs_where_it_is_told() {
    let run = |folder: &str| {
        let options = ["--deadline-s", "60", "--workdir", folder];
        guest(&mut holder_as_init(), &options, "pwd")
    };
    assert_eq!(run("/usr").stdout_text(), "/usr\n");
    let lost = run("/no/such/folder");
    assert_eq!((lost.code, lost.report("start_error").as_str()), (126, "chdir"));
}

#[test]
fn nothing_outlives_the_main_process() {
    let began = Instant::now();
    let ran = run("trap '' TERM; (setsid sleep 1000 &) ; (setsid setsid sleep 1000 &); sleep .2; exit 3");
    assert_eq!(ran.code, 3);
    assert!(ran.report("killed").parse::<u64>().unwrap() >= 2);
    assert!(began.elapsed() < Duration::from_secs(20), "its pipes were held open");
}

#[test]
fn orphans_are_reaped_while_it_runs() {
    // Asked until there are none: a busy host ends and reaps them late.
    let ran = run("for i in $(seq 300); do (sh -c 'true &'); done; \
         for i in $(seq 200); do left=$(ps -eo stat= | grep -c Z); test $left = 0 && break; sleep .1; done; \
         echo $left; exit 0");
    assert_eq!(ran.stdout_text().trim(), "0");
}

#[test]
fn it_cannot_be_killed_from_within() {
    let ran = run("kill -9 1; kill -15 1; kill -2 1; echo alive");
    assert_eq!((ran.code, ran.stdout_text().as_str()), (0, "alive\n"));
    let ran = run("kill -9 -1; echo never");
    assert!(ran.has_report());
    assert_eq!(ran.report("deadline"), "0");
}

#[test]
fn the_nonce_is_nowhere_to_be_found() {
    let ran = run(
        "cat /proc/1/cmdline /proc/1/environ /proc/self/environ 2>&1; cat <&0; ls -l /proc/1/fd; \
         dd if=/proc/1/mem bs=1 count=1 2>&1; env",
    );
    let before = ran.stderr.split("ST1-REPORT").next().unwrap().to_owned();
    assert!(!before.contains(NONCE));
    assert!(!ran.stdout_text().contains(NONCE));
    assert!(ran.has_report());
}

#[test]
fn a_forged_report_is_not_the_last_line() {
    let ran = run("echo 'ST1-REPORT ffffffffffffffffffffffffffffffff code=0' >&2; printf unfinished >&2; exit 5");
    assert_eq!(ran.report("code"), "5");
}

#[test]
fn at_the_deadline_it_asks_then_kills() {
    let began = Instant::now();
    let options = ["--deadline-s", "1", "--grace-s", "60"];
    let polite = guest(
        &mut holder_as_init(),
        &options,
        "trap 'echo asked; exit 9' TERM; while :; do sleep .1; done",
    );
    assert_eq!((polite.code, polite.report("deadline").as_str()), (124, "1"));
    assert_eq!(polite.report("code"), "9");
    assert!(polite.stdout_text().contains("asked"));
    assert!(
        began.elapsed() < Duration::from_secs(50),
        "it did not wait for its grace"
    );
    let options = ["--deadline-s", "1", "--grace-s", "1"];
    let deaf = guest(
        &mut holder_as_init(),
        &options,
        "trap '' TERM; setsid sleep 1000 & while :; do sleep .1; done",
    );
    assert_eq!((deaf.code, deaf.report("signal").as_str()), (124, "9"));
}

#[test]
fn the_deadline_comes_without_a_nonce_too() {
    let mut init = holder_as_init();
    init.args(["init", "--deadline-s", "1", "--", "true"]);
    let mut child = init.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take(); // waiting would close it
    assert_eq!(child.wait().unwrap().code(), Some(124));
    drop(input);
}

#[test]
fn when_nobody_is_there_any_more_all_ends_at_once() {
    let began = Instant::now();
    let mut init = holder_as_init();
    let script = "trap '' TERM; (setsid sleep 1000 &); echo here; while :; do sleep .1; done";
    init.args([
        "init",
        "--deadline-s",
        "60",
        "--grace-s",
        "30",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let mut child = init
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = child.stdin.take().unwrap();
    line.write_all(format!("{NONCE}\n").as_bytes()).unwrap();
    let mut said = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    drop(line);
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.report("signal").as_str()), (124, "9"));
    assert_eq!(
        (ran.report("deadline"), ran.report("orphaned")),
        ("1".into(), "1".into())
    );
    assert!(ran.report("killed").parse::<u64>().unwrap() >= 1);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it did not wait for its limit or its grace"
    );
}

#[test]
fn what_comes_on_the_life_line_is_thrown_away() {
    let input = [format!("{NONCE}\n").into_bytes(), vec![b'x'; 300_000]].concat();
    let mut init = holder_as_init();
    init.args(["init", "--deadline-s", "60", "--", "sh", "-c", "cat; echo $?"]);
    let ran = feed_and_stay(&mut init, &input);
    assert_eq!(
        (ran.code, ran.stdout_text().as_str(), ran.report("orphaned")),
        (0, "0\n", "0".into())
    );
}

#[test]
fn outside_of_a_namespace_only_its_own_child_is_killed() {
    let mut bystander = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let ran = guest(&mut holder(), &["--deadline-s", "1", "--grace-s", "0"], "sleep 1000");
    assert_eq!((ran.code, ran.report("signal").as_str()), (124, "9"));
    assert!(bystander.try_wait().unwrap().is_none(), "somebody else was killed");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_guest_has_a_session_no_input_and_no_file_of_ours() {
    let count = "ls /proc/self/fd | wc -l";
    let plain = std::process::Command::new("sh").args(["-c", count]).output().unwrap();
    let script = format!(
        "ps -o pid=,sid= -p $$ | {{ read a b; [ $a = $b ] && echo leader; }}; \
         readlink /proc/self/fd/0; {count}"
    );
    let inherited = String::from_utf8(plain.stdout).unwrap();
    assert_eq!(run(&script).stdout_text(), format!("leader\n/dev/null\n{inherited}"));
}

#[test]
fn wrong_arguments_are_refused() {
    for bad in [
        &["init", "--", "true"][..],
        &["init", "--deadline-s", "0", "--", "true"],
        &["init", "--deadline-s", "x", "--", "true"],
        &["init", "--deadline-s", "9", "--deadline-s", "9", "--", "true"],
        &["init", "--deadline-s", "9", "--what", "9", "--", "true"],
        &["init", "--deadline-s", "9"],
        &["init", "--deadline-s"],
        &["fly"],
        &[],
    ] {
        assert_eq!(feed(holder().args(bad), b"").code, 2, "{bad:?}");
    }
    for bad in ["", "\n", "abc\n", &NONCE[1..], &NONCE.to_uppercase()] {
        let mut init = holder();
        init.args(["init", "--deadline-s", "9", "--", "true"]);
        assert_eq!(feed(&mut init, bad.as_bytes()).code, 96, "{bad:?}");
    }
}

#[test]
fn a_guest_that_waits_has_executed_nothing_and_its_limit_counts_from_its_first_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mut init = holder_as_init();
    init.args(["init", "--deadline-s", "1", "--idle-s", "60", "--", "touch"])
        .arg(&mark);
    let ran = feed_when(&mut init, format!("{NONCE}\n").as_bytes(), {
        let mark = mark.clone();
        move || {
            // That this time passes is what is tried.
            std::thread::sleep(Duration::from_millis(1500));
            assert!(!mark.exists());
        }
    });
    assert_eq!((ran.code, ran.report("deadline")), (0, "0".into()), "{}", ran.stderr);
    assert!(mark.exists());
}
