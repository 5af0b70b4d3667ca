/** The page at `/`: what answers here and how to begin. Nothing in it is secret, runs, or is loaded from elsewhere. */

import { createHash } from 'node:crypto'

export interface HomePageFacts {
  readonly peerId: string
  readonly version: string
  readonly origin: string
}

const STYLE = `
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
  body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
  pre { padding: .75rem 1rem; overflow-x: auto; border: 1px solid; border-radius: .4rem }
  dt { font-weight: 600 } dd { margin: 0 0 .5rem; overflow-wrap: anywhere }
`

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

export const HOME_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
} as const

export function renderHomePage({ peerId, version, origin }: HomePageFacts): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Feedmesh node</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Feedmesh node</h1>
<p>This machine serves package feeds to their usual clients and replicates them with other nodes.</p>
<dl>
<dt>PeerId</dt><dd><code>${escapeHtml(peerId)}</code></dd>
<dt>Version</dt><dd>${escapeHtml(version)}</dd>
<dt>Base URL</dt><dd><code>${escapeHtml(origin)}</code></dd>
</dl>
<h2>Begin</h2>
<p>On the machine of the node:</p>
<pre><code>feedmesh feed create tools --type npm
feedmesh key create --feed tools --can read,publish
feedmesh replication add --feed tools --incoming --mode push --token new
feedmesh status</code></pre>
<p>On a second node, with the join code that the third command prints:</p>
<pre><code>feedmesh join CODE</code></pre>
<ul>
<li><a href="/health">Health</a></li>
<li><a href="/api/openapi.json">HTTP API (OpenAPI)</a></li>
<li><a href="/.well-known/feedmesh">Addresses for other nodes</a></li>
</ul>
</main>
</body>
</html>
`
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ESCAPES[character] ?? '')
}
