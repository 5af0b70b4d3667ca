/** `v3/index.json`: https://learn.microsoft.com/nuget/api/service-index. Clients look for exactly these types. */

export const V3_PATHS = {
  content: 'v3/flat',
  registration: 'v3/registration',
  registrationSemVer2: 'v3/registration-semver2',
  search: 'v3/query',
  autocomplete: 'v3/autocomplete',
  publish: 'v3/package',
  symbols: 'v3/symbolpackage',
} as const

export function renderServiceIndex(baseUrl: string): unknown {
  const resource = (path: string, ...types: readonly string[]) =>
    types.map((type) => ({ '@id': `${baseUrl}/${path}`, '@type': type }))
  return {
    version: '3.0.0',
    resources: [
      ...resource(`${V3_PATHS.content}/`, 'PackageBaseAddress/3.0.0'),
      ...resource(
        `${V3_PATHS.registration}/`,
        'RegistrationsBaseUrl',
        'RegistrationsBaseUrl/3.0.0-beta',
        'RegistrationsBaseUrl/3.0.0-rc',
        'RegistrationsBaseUrl/3.4.0',
      ),
      ...resource(`${V3_PATHS.registrationSemVer2}/`, 'RegistrationsBaseUrl/3.6.0', 'RegistrationsBaseUrl/Versioned'),
      ...resource(
        V3_PATHS.search,
        'SearchQueryService',
        'SearchQueryService/3.0.0-beta',
        'SearchQueryService/3.0.0-rc',
        'SearchQueryService/3.4.0',
        'SearchQueryService/3.5.0',
        'SearchQueryService/Versioned',
      ),
      ...resource(
        V3_PATHS.autocomplete,
        'SearchAutocompleteService',
        'SearchAutocompleteService/3.0.0-beta',
        'SearchAutocompleteService/3.0.0-rc',
        'SearchAutocompleteService/3.5.0',
        'SearchAutocompleteService/Versioned',
      ),
      ...resource(V3_PATHS.publish, 'PackagePublish/2.0.0', 'PackagePublish/Versioned'),
      ...resource(V3_PATHS.symbols, 'SymbolPackagePublish/4.9.0'),
      ...resource('', 'LegacyGallery/2.0.0', 'LegacyGallery/Versioned'),
    ],
  }
}
