// `exit 0` in the script: exit status 0, but the workflow never ran to its end.
process NEVER {
    script: "echo never"
}

workflow {
    NEVER()
    exit 0
}
