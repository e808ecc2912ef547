// Reads command lines, one JSON list a line, and prints how Nextflow's own launcher splits each of them.
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import nextflow.cli.CmdRun
import nextflow.cli.Launcher

System.in.eachLine { line ->
    def answer
    try {
        def launcher = new Launcher()
        launcher.parseMainArgs(new JsonSlurper().parseText(line) as String[])
        def run = launcher.command as CmdRun
        answer = [args: run.args ?: [], stdin: run.stdin, params: run.params, process: run.process, env: run.env,
                  executor: run.executorOptions, cluster: run.clusterOptions, name: run.runName, work: run.workDir,
                  '-profile': run.profile, '-params-file': run.paramsFile, '-r': run.revision, '-c': run.runConfig,
                  '-entry': run.entryName, '-main-script': run.mainScript, '-plugins': run.plugins,
                  '-with-docker': run.withDocker, '-with-report': run.withReport, '-dump-channels': run.dumpChannels,
                  '-C': launcher.options.config, quiet: launcher.options.quiet, jvm: launcher.options.jvmOpts]
    } catch( Exception e ) {
        answer = [error: e.message ?: e.class.name]
    }
    println JsonOutput.toJson(answer)
}
