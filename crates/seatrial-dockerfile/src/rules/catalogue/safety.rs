//! What makes building unsafe whatever the sandbox is: errors by default, which an operator may lower by policy.

/// A line longer than BuildKit reads.
const LARGE: &str = {
    static TEXT: [u8; 70_000] = {
        let mut text = [b'x'; 70_000];
        let head = b"FROM debian:12\nRUN echo ";
        let mut at = 0;
        while at < head.len() {
            text[at] = head[at];
            at += 1;
        }
        text[text.len() - 1] = b'\n';
        text
    };
    match std::str::from_utf8(&TEXT) {
        Ok(text) => text,
        Err(_) => "",
    }
};

rules! {
    ST001 Critical error ["G01"] [] "Custom frontend"
        because "A syntax directive makes the builder download an image and hand it the whole build: that program, \
                 not the text below it, decides what is built, so nothing that was read in the file holds."
        so "Remove the directive; all of BuildKit's stable syntax is understood without it."
        bad "# syntax=example.com/frontend:1\nFROM debian:12\n"
        good "FROM debian:12\n";
    ST002 Critical error ["G02"] [] "Build argument that steers the builder"
        because "BUILDKIT_* arguments choose another frontend, cache or scanner, and proxy variables send every \
                 download of the build through a host of the author's choice."
        so "Remove the variable; the operator sets proxies and builder options."
        bad "FROM debian:12\nARG HTTPS_PROXY=http://proxy.example.com\n"
        good "FROM debian:12\n";
    ST003 Critical error ["G03"] [] "RUN with full privileges"
        because "--security=insecure lifts seccomp and hands out all capabilities: the step may then load kernel \
                 modules, mount devices and leave its container."
        so "Remove --security; do what needs privileges outside of the build."
        bad "FROM debian:12\nRUN --security=insecure make\n"
        good "FROM debian:12\nRUN make\n";
    ST004 Critical error ["G04"] [] "RUN in the host's network"
        because "In the host's network a step reaches services that listen on the loopback address, the cloud's \
                 metadata service and neighbours that trust this host."
        so "Remove --network or use --network=none; bring what is needed in the build context."
        bad "FROM debian:12\nRUN --network=host make\n"
        good "FROM debian:12\nRUN --network=none make\n";
    ST005 High error ["G05"] [] "RUN with a device"
        because "A CDI device hands hardware of the host and its driver's attack surface to the step."
        so "Remove --device."
        bad "FROM debian:12\nRUN --device=vendor.com/gpu=all make\n"
        good "FROM debian:12\nRUN make\n";
    ST006 High error ["G06"] [] "Cache mount"
        because "A cache mount outlives the build and is found again by its id or target alone: one author leaves \
                 files in it that another author's build executes."
        so "Remove the mount; clean caches in the same RUN instead."
        bad "FROM debian:12\nRUN --mount=type=cache,target=/root/.cache make\n"
        good "FROM debian:12\nRUN make && rm -rf /root/.cache\n";
    ST007 High error ["G07"] [] "Secret or SSH mount"
        because "The step asks for credentials of whoever runs the build; a stranger's file must get none."
        so "Remove the mount; put what the build needs into the build context."
        bad "FROM debian:12\nRUN --mount=type=secret,id=token make\n"
        good "FROM debian:12\nCOPY source /source\nRUN make\n";
    ST008 Medium error ["G08"] [] "Mount of an image, or a writable bind"
        because "from= with anything but a stage pulls an image of the author's choice past the list of allowed \
                 bases; a writable bind makes steps depend on changes that nobody sees."
        so "Declare the image as a stage (FROM image AS name), mount from that name, and drop rw."
        bad "FROM debian:12\nRUN --mount=type=bind,from=example.com/tools,target=/t /t/make\n"
        good "FROM debian:12 AS tools\nFROM debian:12\nRUN --mount=type=bind,from=tools,target=/t /t/make\n";
    ST009 Critical error ["G09"] [] "ADD from an internal address"
        because "The builder itself fetches the URL, from its own network and not from the sandbox of RUN: loopback \
                 services, private hosts and the metadata service answer it, and the answer lands in the image."
        so "Add files from the build context, or from a public host by its plain name."
        bad "FROM debian:12\nADD http://169.254.169.254/latest/ /m/\n"
        good "FROM debian:12\nCOPY m /m/\n";
    ST010 High error ["G10"] [] "ADD of a git repository"
        because "The builder clones whatever the URL names with its own network and keys; a branch can be moved \
                 after this check, and git has had many holes on hostile repositories."
        so "Put the checkout into the build context and COPY it."
        bad "FROM debian:12\nADD https://github.com/example/project.git#main /src\n"
        good "FROM debian:12\nCOPY project /src\n";
    ST011 High error ["C41", "G11"] ["checkov:CKV_DOCKER_4"] "Remote ADD without a checksum"
        because "What the host serves tomorrow is not what was looked at today, and nothing notices the difference."
        so "Give --checksum=sha256:…, or put the file into the build context and COPY it."
        bad "FROM debian:12\nADD https://example.com/a.tar.gz /a/\n"
        good "FROM debian:12\nCOPY a.tar.gz /a/\n";
    ST012 High error ["G19"] [] "Larger than can be built safely"
        because "Builders need more than linear time and memory for very large files, lines, lists and documents: \
                 one file then stalls the service for all."
        so "Make it smaller; put data and scripts into the build context."
        bad LARGE
        good "FROM debian:12\nCOPY program.py /\n";
    ST013 Medium error ["G20"] [] "Characters that deceive the reader"
        because "Invisible and direction-changing characters, NUL, broken UTF-8 and lone carriage returns make a \
                 screen show something else than what is built."
        so "Remove these characters, or write them as escapes in the program that needs them."
        bad "FROM debian:12\nRUN echo \u{202e}cod\u{202c}\n"
        good "FROM debian:12\nRUN echo doc\n";
    ST014 Medium error ["G22"] [] "Name of the service's own"
        because "Labels and variables in the service's namespace pretend to come from it: tools that trust them \
                 would believe the author's word on origin and verdict."
        so "Choose a name outside of io.seatrial.* and SEATRIAL_*."
        bad "FROM debian:12\nLABEL io.seatrial.verdict=pass\n"
        good "FROM debian:12\nLABEL com.example.version=1\n";
    ST015 High error ["C04"] ["hadolint:DL3026"] "Base image outside the allow-list"
        because "A base runs its own code in every step and may be anybody's, or another tenant's local image."
        so "Use an image that the policy allows, written out or by the default of an ARG before the first FROM."
        bad "FROM registry.example.com/anybody/debian:12\n"
        good "FROM debian:12\n";
    ST016 High error ["C44"] ["hadolint:DL3022", "kics:COPY_from_without_alias"] "COPY --from something that is no stage"
        because "A name that is no earlier stage is an image: it is pulled from wherever the name leads, past every \
                 check that is made of bases."
        so "Declare it as a stage (FROM image AS name) and copy from that name."
        bad "FROM debian:12\nCOPY --from=example.com/tools:1 /t /t\n"
        good "FROM debian:12 AS tools\nFROM debian:12\nCOPY --from=tools /t /t\n";
    ST017 High error ["C56"] ["semgrep:dockerd-socket-mount", "dockle:DKL-DI-0002"] "Container engine's socket or sensitive host path"
        because "Who reaches the engine's socket, another process's root or these kernel files owns the host; an \
                 ordinary build has no use for them."
        so "Remove the access; nothing of the host is there to be used."
        bad "FROM debian:12\nRUN curl --unix-socket /var/run/docker.sock http://x/info\n"
        good "FROM debian:12\nRUN make\n";
    ST018 High error ["C62"] ["hadolint:DL1001"] "Author switches checks off"
        because "The author of an untrusted file must not decide which checks apply to it. The comment has no effect \
                 here, and would have one elsewhere."
        so "Remove the comment; the operator may waive a finding in the policy."
        bad "FROM debian:12\n# hadolint ignore=DL3008\nRUN apt-get install -y curl\n"
        good "FROM debian:12\nRUN apt-get install -y curl\n";
    ST040 High error ["C40"] ["hadolint:DL1000", "hadolint:DL3061"] "Does not parse"
        because "Where the judge and the builder read a text differently, what was judged is not what is built."
        so "Correct the place that is shown."
        bad "FROM debian:12\nCOPPY a /a\n"
        good "FROM debian:12\nCOPY a /a\n";
}
