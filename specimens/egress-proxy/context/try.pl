# Through the proxy, to where it must not lead: the status of each answer.
use Socket;
my %o; $SIG{ALRM} = sub { };
sub ask { my ($n, $text) = @_; my ($s, $line) = (undef, ""); alarm 9;
  if (socket($s, AF_INET, SOCK_STREAM, 0) && connect($s, pack_sockaddr_in(3128, INADDR_LOOPBACK)) && syswrite($s, $text)) { 1 while $line !~ /\n/ && sysread($s, $line, 4096, length $line) }
  alarm 0; $o{$n} = $line =~ m{^HTTP/1\.1 (\d+)} ? $1 : -1 }
sub through { my ($n, $to) = @_; ask("connect_$n", "CONNECT $to HTTP/1.1\r\nHost: $to\r\n\r\n") }
sub get { my ($n, $to) = @_; ask("get_$n", "GET http://$to/ HTTP/1.1\r\nHost: $to\r\nConnection: close\r\n\r\n") }
through("mail", "allowed.test:25"); through("plain", "allowed.test:80"); through("unlisted", "unlisted.test:443"); through("below", "x.allowed.test:443");
through("loopback", "127.0.0.1:443"); through("localhost", "localhost:443"); through("loopback6", "[::1]:443"); through("mapped", "[::ffff:127.0.0.1]:443"); through("metadata", "169.254.169.254:443"); through("private", "10.0.0.1:443");
get("loopback", "127.0.0.1"); get("itself", "127.0.0.1:3128"); get("metadata", "169.254.169.254"); get("private", "10.0.0.1"); get("unlisted", "unlisted.test"); get("number", "2130706433"); get("short", "127.1");
ask("user", "GET http://allowed.test\@unlisted.test/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n"); ask("origin", "GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n");
ask("smuggled", "GET http://unlisted.test/ HTTP/1.1\r\nHost: allowed.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
print join(",", map { "\"$ARGV[0]_$_\":$o{$_}" } sort keys %o);
