// Results published into the work dir itself would go with it: nfresume must keep it.
process INSIDE {
    publishDir "${workflow.workDir}/published"
    output: path 'result.txt'
    script: "echo precious > result.txt"
}

workflow { INSIDE() }
