# Hashes, sorting and regular expressions.
my (%table, $sum, $pairs);
$table{"k" . ($_ * 7919 % 50021)} += $_ for 1 .. 150000;
for my $key (sort keys %table) {
    $sum += $1 + $2 if $key =~ /^k(\d*)7(\d+)$/;
}
my $text = join(",", map { $_ * 3 } 1 .. 60000);
$pairs++ while $text =~ /(\d)\1,/g;
print "$sum $pairs\n";
