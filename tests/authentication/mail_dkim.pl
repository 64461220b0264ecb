# Verifies messages with Mail::DKIM: `mail_dkim.pl FOLDER`. Input and output are those of dkimpy.py.
use strict;
use warnings;


BEGIN { *CORE::GLOBAL::time = sub { 1_000_000_000 } }

package Text;
sub type    { return 'TXT' }
sub txtdata { return $_[0]{text} }

package main;
use Mail::DKIM::Verifier;

my ($folder) = @ARGV;
my %records;
open my $file, '<', "$folder/records" or die $!;
while (my $line = <$file>) {
    chomp $line;
    my ($name, $text) = split /\t/, $line;
    $records{lc $name} = bless { text => $text }, 'Text';
}
close $file;

no warnings 'redefine';
*Mail::DKIM::DNS::query_async = sub {
    my ($name, $type, %more) = @_;
    my $found = $records{lc $name};
    return sub { return $more{Callbacks}{Success}->($found ? ($found) : ()) };
};

for my $path (sort glob "$folder/*.eml") {
    open my $message, '<:raw', $path or die $!;
    my $text = do { local $/; <$message> };
    close $message;
    my ($stem) = $path =~ m{([^/]+)\.eml$};
    my $verifier = Mail::DKIM::Verifier->new(Strict => 1);
    eval {
        $verifier->PRINT($text);
        $verifier->CLOSE;
        1;
    } or do {
        my $error = $@;
        $error =~ s/\s+/ /g;
        print "$stem\t*\terror $error\n";
        next;
    };
    my @signatures = $verifier->signatures;
    my $at = 0;
    for my $signature (@signatures) {
        my $said = $signature->result;
        $said = $signature->result_detail unless $said eq 'pass';
        $said =~ s/[\s\x80-\xff]+/ /g;
        # Signatures that it cannot parse are missing: tell the others by what they sign with.
        print "$stem\t$at\t$said\n";
        $at++;
    }
    my $count = () = (split /\r\n\r\n/, $text)[0] =~ /^dkim-signature\s*:/mig;
    my $reason = $verifier->{signature_reject_reason} // '';
    $reason =~ s/[\s\x80-\xff]+/ /g;
    print "$stem\t$_\tnot a signature: $reason\n" for $at .. $count - 1;
}
