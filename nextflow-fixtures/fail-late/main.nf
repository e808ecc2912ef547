// Quality control of sequencing reads: trim, count, compare with the reference, report.
// The last step asks for a column that does not exist, so it fails after everything else is done.
params.samples = "${projectDir}/data/samples.csv"
params.reference = "${projectDir}/data/reference.fasta"
params.outdir = 'results'

process TRIM {
    tag "${sample}"

    input:
    tuple val(sample), path(reads)

    output:
    tuple val(sample), path("${sample}.trimmed.fastq")

    script:
    """
    awk 'NR % 4 == 2 || NR % 4 == 0 { print substr(\$0, 1, 50); next } { print }' ${reads} > ${sample}.trimmed.fastq
    """
}

process GC_CONTENT {
    tag "${sample}"
    publishDir "${params.outdir}/per-sample"

    input:
    tuple val(sample), path(reads)

    output:
    path "${sample}.gc.csv"

    script:
    """
    awk -v s=${sample} 'NR % 4 == 2 { n += length(\$0); gc += gsub(/[GC]/, "") }
        END { printf "%s,%d,%.4f\\n", s, n, gc / n }' ${reads} > ${sample}.gc.csv
    """
}

process REFERENCE_GC {
    input:
    path fasta

    output:
    path 'reference.gc.csv'

    script:
    """
    grep -v '^>' ${fasta} | awk '{ n += length(\$0); gc += gsub(/[GC]/, "") }
        END { printf "reference,%d,%.4f\\n", n, gc / n }' > reference.gc.csv
    """
}

process REPORT {
    publishDir params.outdir

    input:
    path 'tables/*'

    output:
    path 'report.csv'

    script:
    """
    echo 'sample,bases,gc_content' > report.csv
    cat tables/* | sort >> report.csv
    head -1 report.csv | tr ',' '\\n' | grep -x 'gc_contnet'
    """
}

workflow {
    reads = Channel.fromPath(params.samples).splitCsv(header: true)
        .map { row -> tuple(row.sample, file("${projectDir}/data/${row.reads}")) }
    GC_CONTENT(TRIM(reads))
    REFERENCE_GC(file(params.reference))
    REPORT(GC_CONTENT.out.mix(REFERENCE_GC.out).collect())
}
