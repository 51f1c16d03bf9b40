//! ST002 to ST008, ST014 and ST017: names, flags and commands.

use super::*;

#[test]
fn names_that_steer_the_builder_are_seen_however_they_are_written() {
    check_lines(
        "ST002",
        &[
            "ARG BUILDKIT_SYNTAX=evil/x",
            "ARG BUILDKIT_INLINE_CACHE",
            "ENV buildkit_context_keep_git_dir=1",
            "ENV http_proxy=http://x",
            "ENV HTTP_PROXY http://x",
            "ENV a=b HTTPS_PROXY=x",
            "ARG all_proxy",
            "ENV No_Proxy=*",
            "ARG FTP_PROXY=x",
            "ENV \"http_proxy\"=x",
            "ENV http\\_proxy=x",
            "ENV ht\\\ntp_proxy=x",
            "ARG P=http\u{1}ENV ${P}_proxy=x",
            "ENV P=BUILD\u{1}ENV ${P}KIT_SYNTAX=x",
        ],
        &[
            "ENV proxy=x",
            "ENV OAUTH2_PROXY_VERSION=1",
            "ARG DOCKER_BUILDKIT=1",
            "LABEL http_proxy=x",
            "RUN echo http_proxy=x",
            "ENV a=http_proxy",
        ],
    );
    check(
        "ST002",
        &["ARG BUILDKIT_SYNTAX=x\nFROM debian\n"],
        &["ARG V=1\nFROM debian:$V\n"],
    );
    assert_eq!(
        underlined("ST002", "FROM debian\nENV a=b http_proxy=c\n"),
        ["http_proxy"]
    );
}

#[test]
fn privileges_networks_and_devices_are_seen_in_flags_only() {
    check_lines(
        "ST003",
        &[
            "RUN --security=insecure x",
            "RUN --network=none --security=insecure x",
            "RUN --security=\"insecure\" x",
            "RUN --secur\\ity=insec\\ure x",
            "RUN --secu\\\nrity=insecure x",
            "RUN --SECURITY=insecure x",
            "RUN --security=$S x",
            "RUN --security x",
            "run --security=insecure [\"x\"]",
            "RUN --security=insecure <<E\nx\nE",
        ],
        &[
            "RUN --security=sandbox x",
            "RUN x --security=insecure",
            "RUN -- --security=insecure",
            "CMD --security=insecure",
        ],
    );
    check_lines(
        "ST004",
        &[
            "RUN --network=host x",
            "RUN --network=none --network=host x",
            "RUN --network='host' x",
            "ARG N=host\u{1}RUN --network=$N x",
            "RUN --network=bridge x",
            "RUN --network x",
        ],
        &[
            "RUN --network=none x",
            "RUN --network=default x",
            "RUN docker run --network=host x",
        ],
    );
    check_lines(
        "ST005",
        &[
            "RUN --device=vendor.com/class=name x",
            "RUN --device=nvidia.com/gpu,required x",
            "RUN --device x",
        ],
        &["RUN x --device=/dev/sda", "RUN --network=none x"],
    );
    assert_eq!(
        underlined("ST004", "FROM debian\nRUN --network=none --network=host x\n"),
        ["--network=host"]
    );
}

#[test]
fn mounts_are_judged_by_what_they_are_when_variables_are_put_in() {
    check_lines(
        "ST006",
        &[
            "RUN --mount=type=cache,target=/c x",
            "RUN --mount=target=/c,type=cache,id=x,sharing=private x",
            "RUN --mount=TYPE=Cache,target=/c x",
            "RUN --mount=\"\\\"type=cache\\\",target=/c\" x",
            "RUN --mount=type=bind,type=cache,target=/c x",
            "RUN --mount=a\\\"b,\\\"type=cache\\\",target=/c x",
            "ARG T=cache\u{1}RUN --mount=type=cac\\\nhe,target=/c x",
        ],
        &[
            "RUN --mount=type=bind,target=/c x",
            "RUN --mount=type=tmpfs,target=/c x",
            "RUN x --mount=type=cache",
        ],
    );
    check(
        "ST006",
        &["FROM debian\nARG T=cache\nRUN --mount=type=$T,target=/c x\n"],
        &[],
    );
    check_lines(
        "ST007",
        &[
            "RUN --mount=type=secret,id=a x",
            "RUN --mount=type=ssh x",
            "RUN --mount=type=tmpfs,target=/a --mount=type=ssh x",
            "RUN --mount=type=$UNKNOWN,target=/a x",
            "RUN --mount=type=${UNKNOWN:-tmpfs},target=/a x",
            "RUN --mount=type=other,target=/a x",
            "RUN --mount=type=secret x <<E\nx\nE",
        ],
        &["RUN --mount=type=tmpfs,target=/a x", "RUN --mount=target=/a x"],
    );
    check_lines(
        "ST008",
        &[
            "RUN --mount=from=busybox,target=/a x",
            "RUN --mount=type=bind,from=evil.example/x,target=/a x",
            "RUN --mount=type=cache,from=busybox,target=/a x",
            "RUN --mount=type=bind,target=/a,rw x",
            "RUN --mount=target=/a,readwrite=true x",
            "RUN --mount=target=/a,ro=false x",
            "RUN --mount=from=0,target=/a x",
        ],
        &[
            "RUN --mount=target=/a x",
            "RUN --mount=target=/a,rw=false x",
            "RUN --mount=target=/a,ro x",
            "RUN --mount=type=cache,target=/a,from=scratch x",
            "RUN --mount=type=tmpfs,target=/a x",
        ],
    );
    check(
        "ST008",
        &[
            "FROM debian AS a\nRUN --mount=from=a,target=/x x\n",
            "FROM debian\nRUN --mount=from=b,target=/x x\nFROM debian AS b\n",
        ],
        &["FROM debian AS a\nFROM debian\nRUN --mount=from=A,target=/x x\n"],
    );
    assert_eq!(
        underlined("ST008", "FROM debian\nRUN --mount=target=/a,from=b x\n"),
        ["from=b"]
    );
}

#[test]
fn our_own_names_are_ours() {
    check_lines(
        "ST014",
        &[
            "LABEL io.seatrial.job=x",
            "LABEL \"io.seatrial.verdict\"=\"pass\"",
            "LABEL a=b IO.Seatrial.x=y",
            "LABEL seatrial.x=y",
            "LABEL com.seatrial=y",
            "ENV SEATRIAL_JOB=1",
            "ENV SEATRIAL__POLICY__X=1",
            "ARG seatrial_x",
            "ENV P=SEA\u{1}ENV ${P}TRIAL_X=1",
            "LABEL io.sea\\\ntrial.x=1",
        ],
        &[
            "LABEL org.opencontainers.image.title=seatrial",
            "LABEL com.example.seatrial=1",
            "ENV SEATRIALS=1",
            "ENV MY_SEATRIAL_X=1",
            "ENV A=SEATRIAL_X",
        ],
    );
}

#[test]
fn sockets_and_paths_of_the_host_are_seen_through_a_shells_tricks() {
    check_lines(
        "ST017",
        &[
            "RUN curl --unix-socket /var/run/docker.sock http://x/images/json",
            "RUN ls /run/containerd/containerd.sock",
            "RUN ls /var/run/crio/crio.sock && x",
            "RUN ls $XDG_RUNTIME_DIR/podman/podman.sock",
            "RUN ls /var/run/\"docker\".sock",
            "RUN ls /var/run/dock''er\\.sock",
            "RUN ls /var/run/dock\\\ner.sock",
            "RUN ls //var//run/./docker.sock",
            "RUN ls /var/run/dock${x}er.sock",
            "RUN ls /var/run/doc$@ker.sock",
            "RUN [\"ls\", \"/var/run/docker\\u002esock\"]",
            "RUN --mount=target=/a,source=/var/run/docker.sock [\"a\\n\"]",
            "RUN curl npipe:////./pipe/docker_engine",
            "CMD [\"--socket=unix:///var/run/docker.sock\"]",
            "CMD x -H unix:///var/run/docker.sock",
            "ENTRYPOINT ls /proc/1/root/etc",
            "HEALTHCHECK CMD ls /var/run/docker.sock",
            "HEALTHCHECK CMD [\"ls\", \"/var/run/docker.s\\u006fck\"]",
            "VOLUME /var/run/docker.sock",
            "VOLUME [\"/var/run/docker.sock\"]",
            "VOLUME /proc",
            "VOLUME /",
            "VOLUME [\"/sys/fs/cgroup\"]",
            "ENV DOCKER_HOST=unix:///var/run/docker.sock",
            "ARG S=/var/run/docker.sock",
            "COPY /var/run/docker.sock /x",
            "WORKDIR /proc/1/root",
            "SHELL [\"/host/root/sh\"]",
            "RUN echo '|/x' > /proc/sys/kernel/core_pattern",
            "RUN sysctl -w kernel.core_pattern=x",
            "RUN echo /x > /sys/fs/cgroup/rdma/release_agent",
            "RUN echo b > /proc/sysrq-trigger",
            "RUN chroot /host sh",
            "RUN cat /host/etc/shadow",
            "RUN docker run -v /:/x alpine",
            "RUN dd if=/dev/sda1 of=/x",
            "RUN cat /dev/mem",
            "RUN cat /var/run/secrets/kubernetes.io/serviceaccount/token",
            "RUN sh <<E\nls /var/run/docker.sock\nE",
            "RUN <<E\nls /var/run/dock\\\ner.sock\nE",
            "COPY <<E /x.sh\ncat /proc/1/root/etc/shadow\nE",
            "ENV D=/var/run/dock\u{1}RUN ls ${D}er.sock",
            "ARG D=docker\u{1}RUN ls /var/run/$D.sock",
            "RUN d=docker; ls /var/run/$d.sock",
            "RUN a=/proc b=1; cat < ${a}/${b}/environ",
            "RUN ls ${x:-docker.sock}",
            "RUN ls ${x:-/proc/1/root}",
            "VOLUME /x/../proc",
            "RUN docker run --mount type=bind,source=/,target=/host a",
        ],
        &[
            "RUN systemctl enable docker.socket",
            "RUN ls mydocker.socks",
            "RUN cat /proc/self/root /proc/cpuinfo /proc/10/root",
            "RUN mkdir /hosts /app/host/etc ./host/proc",
            "RUN cat /etc/hosts /run/docker-entrypoint.sh",
            "RUN cat /sys/fs/cgroup/memory.max",
            "VOLUME /data /var/lib/app /system /processed",
            "VOLUME [\"/devices\"]",
            "RUN cat $PREFIX/host/etc",
            "RUN apt-get install containerd docker.io",
            "LABEL run=\"docker run -v /var/run/docker.sock:/x\"",
            "COPY etc/kubernetes /x",
            "RUN echo /dev/null /dev/sdk /dev/memory",
            "VOLUME /x/../data",
            "RUN --mount=type=bind,from=debian,source=/,target=/x a",
            "RUN d=mine; ls /var/run/$d.pid",
            "RUN cat /run/docker.sh",
            "ARG DESTDIR\u{1}RUN cp x \"${DESTDIR}/var/lib/kubelet\"",
        ],
    );
    check(
        "ST017",
        &[],
        &["FROM debian\n# /var/run/docker.sock\nRUN a \\\n# /var/run/docker.sock\n b\n"],
    );
    assert_eq!(
        underlined("ST017", "FROM debian\nRUN ls -l /var/run/do'ck'er.sock;\n"),
        ["/var/run/do'ck'er.sock"]
    );
}
