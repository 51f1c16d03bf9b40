//! What is judged, in words. Ids never change; a retired one is never used again.

use seatrial_core::finding::{Level, Rule, Severity};

macro_rules! rules {
    ($($id:ident $severity:ident $concern:literal [$($alias:literal),*]
        $title:literal because $reason:literal so $remedy:literal;)*) => {
        $(
            #[doc = $title]
            pub(super) static $id: Rule = Rule {
                id: stringify!($id),
                title: $title,
                level: Level::Error,
                severity: Severity::$severity,
                reason: $reason,
                remedy: $remedy,
                concerns: &[$concern],
                aliases: &[$($alias),*],
            };
        )*
        /// All of them, by id.
        pub(super) static ALL: &[&Rule] = &[$(&$id),*];
    };
}

// All are errors by default: each makes building unsafe whatever the sandbox is. An operator may
// lower one by policy.
rules! {
    ST001 Critical "G01" [] "Custom frontend"
        because "A syntax directive makes the builder download an image and hand it the whole build: that program, \
                 not the text below it, decides what is built, so nothing that was read in the file holds."
        so "Remove the directive; all of BuildKit's stable syntax is understood without it.";
    ST002 Critical "G02" [] "Build argument that steers the builder"
        because "BUILDKIT_* arguments choose another frontend, cache or scanner, and proxy variables send every \
                 download of the build through a host of the author's choice."
        so "Remove the variable; the operator sets proxies and builder options.";
    ST003 Critical "G03" [] "RUN with full privileges"
        because "--security=insecure lifts seccomp and hands out all capabilities: the step may then load kernel \
                 modules, mount devices and leave its container."
        so "Remove --security; do what needs privileges outside of the build.";
    ST004 Critical "G04" [] "RUN in the host's network"
        because "In the host's network a step reaches services that listen on the loopback address, the cloud's \
                 metadata service and neighbours that trust this host."
        so "Remove --network or use --network=none; bring what is needed in the build context.";
    ST005 High "G05" [] "RUN with a device"
        because "A CDI device hands hardware of the host and its driver's attack surface to the step."
        so "Remove --device.";
    ST006 High "G06" [] "Cache mount"
        because "A cache mount outlives the build and is found again by its id or target alone: one author leaves \
                 files in it that another author's build executes."
        so "Remove the mount; clean caches in the same RUN instead.";
    ST007 High "G07" [] "Secret or SSH mount"
        because "The step asks for credentials of whoever runs the build; a stranger's file must get none."
        so "Remove the mount; put what the build needs into the build context.";
    ST008 Medium "G08" [] "Mount of an image, or a writable bind"
        because "from= with anything but a stage pulls an image of the author's choice past the list of allowed \
                 bases; a writable bind makes steps depend on changes that nobody sees."
        so "Declare the image as a stage (FROM image AS name), mount from that name, and drop rw.";
    ST009 Critical "G09" [] "ADD from an internal address"
        because "The builder itself fetches the URL, from its own network and not from the sandbox of RUN: loopback \
                 services, private hosts and the metadata service answer it, and the answer lands in the image."
        so "Add files from the build context, or from a public host by its plain name.";
    ST010 High "G10" [] "ADD of a git repository"
        because "The builder clones whatever the URL names with its own network and keys; a branch can be moved \
                 after this check, and git has had many holes on hostile repositories."
        so "Put the checkout into the build context and COPY it.";
    ST011 High "G11" [] "Remote ADD without a checksum"
        because "What the host serves tomorrow is not what was looked at today, and nothing notices the difference."
        so "Give --checksum=sha256:…, or put the file into the build context and COPY it.";
    ST012 High "G19" [] "Larger than can be built safely"
        because "Builders need more than linear time and memory for very large files, lines, lists and documents: \
                 one file then stalls the service for all."
        so "Make it smaller; put data and scripts into the build context.";
    ST013 Medium "G20" [] "Characters that deceive the reader"
        because "Invisible and direction-changing characters, NUL, broken UTF-8 and lone carriage returns make a \
                 screen show something else than what is built."
        so "Remove these characters, or write them as escapes in the program that needs them.";
    ST014 Medium "G22" [] "Name of the service's own"
        because "Labels and variables in the service's namespace pretend to come from it: tools that trust them \
                 would believe the author's word on origin and verdict."
        so "Choose a name outside of io.seatrial.* and SEATRIAL_*.";
    ST015 High "C04" ["hadolint:DL3026"] "Base image outside the allow-list"
        because "A base runs its own code in every step and may be anybody's, or another tenant's local image."
        so "Use an image that the policy allows, written out or by the default of an ARG before the first FROM.";
    ST016 High "C44" ["hadolint:DL3022", "kics:COPY_from_without_alias"] "COPY --from something that is no stage"
        because "A name that is no earlier stage is an image: it is pulled from wherever the name leads, past every \
                 check that is made of bases."
        so "Declare it as a stage (FROM image AS name) and copy from that name.";
    ST017 High "C56" ["semgrep:dockerd-socket-mount", "dockle:DKL-DI-0002"] "Container engine's socket or sensitive host path"
        because "Who reaches the engine's socket, another process's root or these kernel files owns the host; an \
                 ordinary build has no use for them."
        so "Remove the access; nothing of the host is there to be used.";
    ST018 High "C62" ["hadolint:DL1001"] "Author switches checks off"
        because "The author of an untrusted file must not decide which checks apply to it. The comment has no effect \
                 here, and would have one elsewhere."
        so "Remove the comment; the operator may waive a finding in the policy.";
    ST040 High "C40" ["hadolint:DL1000", "hadolint:DL3061"] "Does not parse"
        because "Where the judge and the builder read a text differently, what was judged is not what is built."
        so "Correct the place that is shown.";
}
