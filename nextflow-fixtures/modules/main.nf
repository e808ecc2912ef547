// A project with a module, a sub-workflow, a configuration and latch_metadata (12 hours).
include { NORMALISE } from './subworkflows/normalise'

workflow { NORMALISE(Channel.fromPath(params.counts)) }
