process SCALE {
    input:
    path counts

    output:
    path 'scaled.csv'

    script:
    """
    awk -F, -v OFS=, 'NR == FNR { if (FNR > 1) { a += \$2; b += \$3 } next }
        FNR == 1 { print; next } { print \$1, int(\$2 * ${params.scale} / a), int(\$3 * ${params.scale} / b) }' \
        ${counts} ${counts} > scaled.csv
    """
}
