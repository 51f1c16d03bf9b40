# Past the proxy: which error each way gives. A way that leads somewhere is one that waits, or 0.
use Socket qw(:DEFAULT AF_INET6 inet_pton pack_sockaddr_in6);
my %o; $SIG{ALRM} = sub { };
sub try { my ($n, $f, $t, $a) = @_; my ($s, $b); alarm 2; $o{$n} = socket($s, $f, $t, 0) && connect($s, $a) && (syswrite($s, "x" x 12) // 0) && sysread($s, $b, 1) ? 0 : 0 + $!; alarm 0 }
sub four { my ($n, $t, $a, $p) = @_; try($n, AF_INET, $t, pack_sockaddr_in($p, inet_aton($a))) }
sub six { my ($n, $a) = @_; try($n, AF_INET6, SOCK_STREAM, pack_sockaddr_in6(80, inet_pton(AF_INET6, $a))) }
four("public", SOCK_STREAM, "192.0.2.1", 443); four("private", SOCK_STREAM, "10.0.0.1", 80); four("bridge", SOCK_STREAM, "172.17.0.1", 2375);
four("metadata", SOCK_STREAM, "169.254.169.254", 80); four("names", SOCK_DGRAM, "192.0.2.1", 53); four("engine_names", SOCK_STREAM, "127.0.0.11", 53);
six("public6", "2001:db8::1"); six("metadata6", "fd00:ec2::254"); six("neighbours6", "ff02::1");
alarm 6; $o{"name"} = gethostbyname("allowed.test") ? 0 : 1; alarm 0;
open(D, "<", "/proc/net/dev"); $o{"links"} = grep { /^\s*\w+:/ && !/^\s*lo:/ } <D>;
open(T, "<", "/proc/net/tcp"); $o{"listeners"} = grep { (split)[3] eq "0A" } <T>;
print join(",", map { "\"$ARGV[0]_$_\":$o{$_}" } sort keys %o);
