/** How often property tests run: FUZZ_RUNS in the environment raises it for the long script of the CI. */

const USUAL_DECODER_RUNS = 5000

const scale = Math.max(1, Number(process.env.FUZZ_RUNS ?? USUAL_DECODER_RUNS) / USUAL_DECODER_RUNS)

/** `usual` runs in `npm test`; FUZZ_RUNS itself where 5,000 is usual. */
export function runsOf(usual: number): { readonly numRuns: number } {
  return { numRuns: Math.ceil(usual * scale) }
}
