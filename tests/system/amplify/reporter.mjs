// One line of JSON for each finished case.
export default async function* report(source) {
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    const { name, details } = event.data
    const error = details.error?.cause ?? details.error
    const why = event.type === 'test:fail' ? String(error?.stack ?? error) : null
    yield `${JSON.stringify({ name, why, ms: details.duration_ms })}\n`
  }
}
