# Ten times as many connections as may be, with garbage in each; and afterwards an ordinary request.
use Socket; use Fcntl;
$SIG{ALRM} = $SIG{PIPE} = sub { };
my $way = pack_sockaddr_in(3128, INADDR_LOOPBACK); my $made = 0; my @all;
my @garbage = ("\0" x 40000, "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" . "\xff" x 500, "O\0\0\0\1\0\0\0\0E\0\0\0\0\0\0\0\0", "GET http://allowed.test/ HTTP/1.1\r\nX: " . "y" x 200000, "CONNECT \xff\xfe\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "");
for my $n (0 .. 319) { socket(my $s, AF_INET, SOCK_STREAM, 0) or last; fcntl($s, F_SETFL, O_NONBLOCK); $made++; connect($s, $way); push @all, $s }
for my $round (0 .. 4) { my $n = 0; for my $s (@all) { syswrite($s, $garbage[$n++ % @garbage]); sysread($s, my $b, 10) } select(undef, undef, undef, 0.05) }
@all = (); my ($line, $status) = ("", -1);
for (1 .. 20) { my $s; alarm 4; $line = "";
  if (socket($s, AF_INET, SOCK_STREAM, 0) && connect($s, $way) && syswrite($s, "CONNECT unlisted.test:443 HTTP/1.1\r\nHost: unlisted.test:443\r\n\r\n")) { 1 while $line !~ /\n/ && sysread($s, $line, 4096, length $line) }
  alarm 0; $status = $1 if $line =~ m{^HTTP/1\.1 (\d+)}; last if $status == 403; select(undef, undef, undef, 0.1) }
print "\"$ARGV[0]_made\":$made,\"$ARGV[0]_afterwards\":$status";
