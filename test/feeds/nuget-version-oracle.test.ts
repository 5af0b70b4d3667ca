/** Versions as NuGet itself reads and orders them, asked through mono. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { comparePackageVersions, findPackageVersion } from '../../protocols/feeds/nuget/package-version.ts'
import { createFolder, findInstalled, findProgram } from '../clients/run-client.ts'

/** One version a line in; out a line for each with its normalised form or `-`, then for each readable one how it stands to all. */
const ORACLE = `
using System; using System.Collections.Generic; using System.Reflection; using System.Text;
static class Oracle {
  static void Main(string[] args) {
    var type = Assembly.LoadFrom(args[0]).GetType("NuGet.Versioning.NuGetVersion", true);
    var parse = type.GetMethod("Parse", BindingFlags.Public | BindingFlags.Static, null, new[] { typeof(string) }, null);
    var normalize = type.GetMethod("ToNormalizedString", Type.EmptyTypes);
    var versions = new List<IComparable>();
    for (string line; (line = Console.ReadLine()) != null; ) {
      try {
        var version = parse.Invoke(null, new object[] { line });
        Console.WriteLine(normalize.Invoke(version, null));
        versions.Add((IComparable)version);
      } catch (TargetInvocationException) { Console.WriteLine("-"); }
    }
    foreach (var a in versions) {
      var line = new StringBuilder();
      foreach (var b in versions) line.Append("<=>"[Math.Sign(a.CompareTo(b)) + 1]);
      Console.WriteLine(line);
    }
  }
}`

const KNOWN =
  `1 1.0 1.0.0 1.0.0.0 1.0.0.1 01.02.03 2147483647.0 2147483648.0 1.2.3.4.5 1. .1 1..2 v1.0 1.0- 1.0-a 1.0-A 1.0-a.1
1.0-a.b 1.0-a.10 1.0-a.9 1.0-a10 1.0-1 1.0--1 1.0-- 1.0-01 1.0-0 1.0-00 1.0-0a 1.0-a.01 1.0-a.0 1.0-2147483647 1.0-2147483648
1.0-99999999999 1.0--2147483648 1.0--2147483649 1.0-a..b 1.0-.a 1.0-a. 1.0+ 1.0+a 1.0+a.b 1.0+01 1.0-a+b 1.0-a+b+c 1.0+a-b 1.0-a_b 1.0-é
1.0.0-beta 1.0.0-beta2 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0-rc-1 1-a 1.0.0.0-a 1.0.0.5-a 1.*`.split(/\s+/)

const number = fc.oneof(fc.nat(3).map(String), fc.constantFrom('00', '01', '10', '2147483647', '2147483648'))
const label = fc.oneof(
  fc.stringMatching(/^[0-9A-Za-z-]{1,4}$/),
  fc.constantFrom('0', '01', '9', '10', '-1', 'RC', 'rc'),
)
const version = fc
  .tuple(
    fc.array(number, { minLength: 1, maxLength: 5 }),
    fc.array(label, { maxLength: 3 }),
    fc.array(label, { maxLength: 2 }),
  )
  .map(
    ([numbers, labels, metadata]) =>
      numbers.join('.') +
      (labels.length === 0 ? '' : `-${labels.join('.')}`) +
      (metadata.length === 0 ? '' : `+${metadata.join('.')}`),
  )

const compiler = findProgram('mcs')
const mono = findProgram('mono')
const nuget = findInstalled('nuget5', 'nuget-exe/nuget-5.8.0.exe')
const isHere = compiler !== undefined && mono !== undefined && nuget !== undefined

test('versions are those of NuGet 5.8, and in its order', {
  skip: isHere ? false : 'not installed: mono, mcs and nuget 5.8 (test/clients/install.sh)',
  timeout: 60_000,
}, async (t) => {
  const folder = await createFolder(t)
  await writeFile(join(folder, 'oracle.cs'), ORACLE)
  execFileSync(compiler!.file, ['-out:oracle.exe', 'oracle.cs'], { cwd: folder, stdio: 'pipe' })
  const texts = [...new Set([...KNOWN, ...fc.sample(version, { numRuns: 160, seed: 5 })])]
  const lines = execFileSync(mono!.file, ['oracle.exe', nuget!.file], {
    cwd: folder,
    input: `${texts.join('\n')}\n`,
    encoding: 'utf8',
  })
    .trimEnd()
    .split('\n')
  const forms = lines.splice(0, texts.length)
  for (const [at, text] of texts.entries())
    assert.equal(findPackageVersion(text)?.normalized ?? '-', forms[at], `the form of ${text}`)
  const readable = texts.filter((_text, at) => forms[at] !== '-')
  assert.ok(readable.length > 120 && lines.length === readable.length)
  const versions = readable.map((text) => findPackageVersion(text)!)
  for (const [at, a] of versions.entries())
    for (const [other, b] of versions.entries())
      assert.equal(
        '<=>'[Math.sign(comparePackageVersions(a, b)) + 1],
        lines[at]?.[other],
        `${readable[at]} and ${readable[other]}`,
      )
})
