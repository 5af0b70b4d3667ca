/**
 * How often property tests run, and from which seed. FUZZ_RUNS raises the number for the long script of the CI. The seed is
 * fixed, so that a change is judged by what it changed; FUZZ_SEED=random (or a number) looks for new counterexamples.
 */

const USUAL_DECODER_RUNS = 5000
const USUAL_SEED = 20_261_123

const scale = Math.max(1, Number(process.env.FUZZ_RUNS ?? USUAL_DECODER_RUNS) / USUAL_DECODER_RUNS)
const wanted = process.env.FUZZ_SEED
const seed = wanted === 'random' ? {} : { seed: Number(wanted ?? USUAL_SEED) }

/** `usual` runs in `npm test`; FUZZ_RUNS itself where 5,000 is usual. */
export function runsOf(usual: number): { readonly numRuns: number; readonly seed?: number } {
  return { numRuns: Math.ceil(usual * scale), ...seed }
}
