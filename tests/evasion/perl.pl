# Reads messages in hexadecimal, one on each line of standard input. Prints for each which of two programs show a text:
# MIME-tools, SpamAssassin, both or none.
#
# usage: perl.pl TEXT

use strict;
use warnings;

use Encode;
use MIME::Parser;
use Mail::SpamAssassin;

my ($wanted) = @ARGV;
my $none = '/dev/null';
my $assassin = Mail::SpamAssassin->new({
    dont_copy_prefs => 1,
    local_tests_only => 1,
    rules_filename => $none,
    site_rules_filename => $none,
    userprefs_filename => $none,
});
# Warnings about malformed messages.
local $SIG{__WARN__} = sub { };

# The texts of the parts, in their character sets, and undecoded.
sub mime_tools {
    my ($message) = @_;
    my $parser = MIME::Parser->new;
    $parser->output_to_core(1);
    $parser->tmp_to_core(1);
    $parser->extract_uuencode(1);
    my @parts = ($parser->parse_data($message));
    while (my $part = shift @parts) {
        push @parts, $part->parts;
        my $body = $part->bodyhandle or next;
        my $text = $body->as_string;
        my $charset = $part->head->mime_attr('content-type.charset');
        my $decoded = $charset ? eval { decode($charset, $text) } : undef;
        return 1 if grep { defined && index($_, $wanted) >= 0 } $text, $decoded;
    }
    return 0;
}

sub spamassassin {
    my ($message) = @_;
    my $parsed = $assassin->parse($message, 1);
    my @texts = map { @{$_ || []} } $parsed->get_rendered_body_text_array, $parsed->get_decoded_body_text_array;
    $parsed->finish;
    return grep { index($_, $wanted) >= 0 } @texts;
}

while (my $line = <STDIN>) {
    chomp $line;
    my $message = pack 'H*', $line;
    my @readers = ((eval { mime_tools($message) }) ? 'MIME-tools' : (), (eval { spamassassin($message) }) ? 'SpamAssassin' : ());
    print join(' ', @readers), "\n";
}
