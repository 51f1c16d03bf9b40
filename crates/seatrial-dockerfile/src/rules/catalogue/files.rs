//! Files and folders: what is copied, and where to.

rules! {
    ST501 Low info ["C41"] ["hadolint:DL3020", "trivy:DS-0005", "checkov:CKV_DOCKER_4", "kics:Add_Instead_of_Copy", "semgrep:prefer-copy-over-add",
        "dockle:CIS-DI-0009", "CIS:4.9"] "ADD of a file that COPY would take"
        because "ADD unpacks what it takes for an archive, whatever its name, so what lands in the image is less certain."
        so "Use COPY."
        bad "FROM debian:12\nADD app.py /app/\n"
        good "FROM debian:12\nCOPY app.py /app/\n";
    ST502 Low info ["C41"] ["trivy:DS-0005", "checkov:CKV_DOCKER_4"] "ADD of a file that is packed but may be no archive"
        because "Whether ADD unpacks it depends on what is in it: a compressed file without an archive stays as it is."
        so "Use COPY and unpack it in a RUN, or name the archive .tar.gz and the like."
        bad "FROM debian:12\nADD data.gz /data/\n"
        good "FROM debian:12\nADD data.tar.gz /data/\n";
    ST503 Low info ["C42"] ["hadolint:DL3010"] "Archive copied and then unpacked"
        because "The archive stays in its layer, so the image carries its files twice."
        so "Use ADD, which unpacks it and leaves no archive."
        bad "FROM debian:12\nCOPY app.tar /src/\nRUN tar -xf /src/app.tar\n"
        good "FROM debian:12\nADD app.tar /src/\n";
    ST504 Low info ["C43"] ["hadolint:DL3021", "trivy:DS-0011", "kics:Copy_More_Than_Two"]
        "Several sources, and a destination without a final slash"
        because "Several files need a folder, and only a final slash says that it is one: the build ends here."
        so "Add the slash."
        bad "FROM debian:12\nCOPY a.txt b.txt /data\n"
        good "FROM debian:12\nCOPY a.txt b.txt /data/\n";
    ST505 Medium info ["C45"] ["hadolint:DL3023", "trivy:DS-0006", "kics:COPY_from_current"] "Stage copied from itself"
        because "A stage does not exist before it ends: builders take the name for an image, or end here."
        so "Name an earlier stage, or leave --from out."
        bad "FROM debian:12 AS build\nCOPY --from=build /a /b\n"
        good "FROM debian:12 AS build\nFROM debian:12\nCOPY --from=build /a /b\n";
    ST506 Low info ["C46"] ["hadolint:DL3045"] "Copied to a relative path without a WORKDIR"
        because "Where the files go is then the base's choice."
        so "Set a WORKDIR before, or write the whole path."
        bad "FROM debian:12\nCOPY app.py app/\n"
        good "FROM debian:12\nWORKDIR /srv\nCOPY app.py app/\n";
    ST507 Medium warn ["C47"] ["hadolint:DL3067"] "Whole file system of a stage copied"
        because "Everything comes along: caches, keys, shell histories, programs with the setuid bit."
        so "Copy the folders that are needed."
        bad "FROM debian:12 AS build\nFROM debian:12\nCOPY --from=build / /\n"
        good "FROM debian:12 AS build\nFROM debian:12\nCOPY --from=build /opt/app /opt/app\n";
    ST508 Low info ["G31"] [] "Whole build context copied over the root"
        because "Whatever lies in the context lands in the image and may replace programs and settings of the base."
        so "Copy the files that are needed, to a folder of their own."
        bad "FROM debian:12\nCOPY . /\n"
        good "FROM debian:12\nCOPY src /srv/src\n";
    ST510 Low info ["C49"] ["hadolint:DL3000", "buildkit:WorkdirRelativePath", "trivy:DS-0009", "checkov:CKV_DOCKER_10",
        "kics:WORKDIR_not_absolute"] "First WORKDIR of a stage is relative"
        because "It is put behind the base's own folder, which another release of the base may change."
        so "Write the whole path."
        bad "FROM debian:12\nWORKDIR app\n"
        good "FROM debian:12\nWORKDIR /app\n";
    ST511 Low info ["C49"] ["hadolint:DL3000", "trivy:DS-0009", "checkov:CKV_DOCKER_10", "kics:WORKDIR_not_absolute"]
        "Relative WORKDIR"
        because "To know the folder, a reader has to add up all lines before."
        so "Write the whole path."
        bad "FROM debian:12\nWORKDIR /srv\nWORKDIR app\n"
        good "FROM debian:12\nWORKDIR /srv\nWORKDIR /srv/app\n";
    ST512 Low info ["C49"] ["buildkit:WorkdirRelativePath"] "WORKDIR that is a whole path only elsewhere"
        because "It begins with a variable that the file does not set, or with a drive of Windows: as it stands it is \
                 relative, or empty, and put behind the base's own folder."
        so "Write the whole path, or set the variable in the file."
        bad "FROM debian:12\nWORKDIR $APP_HOME\n"
        good "FROM debian:12\nENV APP_HOME=/app\nWORKDIR $APP_HOME\n";
    ST513 Medium warn ["C50"] ["trivy:DS-0030"] "WORKDIR in a folder of the kernel"
        because "Through such a working directory escapes from containers were built: /proc/self/fd leads to the host's \
                 folders when a runtime leaks one."
        so "Work in a folder of the image."
        bad "FROM debian:12\nWORKDIR /proc/self/fd/7\n"
        good "FROM debian:12\nWORKDIR /srv\n";
    ST514 Medium warn ["C51"] ["trivy:DS-0004", "checkov:CKV_DOCKER_1"] "Port of SSH exposed"
        because "A login service in a container is a way in that nobody who runs it asked for."
        so "Leave the port and the service out."
        bad "FROM debian:12\nEXPOSE 22\n"
        good "FROM debian:12\nEXPOSE 8080\n";
    ST515 Low info ["C52"] ["hadolint:DL3011", "trivy:DS-0008", "kics:UNIX_Ports", "semgrep:invalid-port"]
        "Port that does not exist"
        because "Ports end at 65535: the build ends here."
        so "Name a port from 1 to 65535."
        bad "FROM debian:12\nEXPOSE 70000\n"
        good "FROM debian:12\nEXPOSE 7000\n";
    ST516 Low info ["C52"] ["buildkit:ExposeInvalidFormat"] "EXPOSE with an address or a port of the host"
        because "EXPOSE tells of ports of the container; which one of the host leads there is said by who runs it."
        so "Name the container's port alone."
        bad "FROM debian:12\nEXPOSE 80:8080\n"
        good "FROM debian:12\nEXPOSE 8080\n";
    ST517 Low info ["C52"] ["buildkit:ExposeProtoCasing"] "Protocol of a port in capitals"
        because "The protocol is tcp, udp or sctp, in lower case; not every builder takes another form."
        so "Write it in lower case."
        bad "FROM debian:12\nEXPOSE 80/TCP\n"
        good "FROM debian:12\nEXPOSE 80/tcp\n";
    ST518 Medium info ["G23"] [] "Volume"
        because "A volume outlives the container and escapes its limit on disk; what a later step writes there is lost."
        so "Leave it out; who runs the image can mount a volume anywhere."
        bad "FROM debian:12\nVOLUME /data\n"
        good "FROM debian:12\nRUN mkdir /data\n";
    ST519 Medium warn ["G23"] [] "Volume over a folder of the system"
        because "It hides what the base has there, keeps it writable and alive beyond the container: settings, homes, programs."
        so "Use a folder of the application's own."
        bad "FROM debian:12\nVOLUME /etc\n"
        good "FROM debian:12\nVOLUME /var/lib/app\n";
}
