// The grammar of channels, as a sentence about what is wrong; null where nothing is.
const SEGMENT = /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?$/

export function check(channel, wildcardAllowed) {
  if (!channel) return 'The channel is empty: write one such as /default/greetings.'
  const segments = channel.replace(/^\//, '').replace(/\/$/, '').split('/')
  if (segments.length > 5) return `The channel has ${segments.length} parts: at most 5 are allowed.`
  if (segments.at(-1) === '*') {
    if (!wildcardAllowed) return 'Only a subscription may end in *: publish to one channel.'
    if (segments.length === 1) return 'A * needs a namespace before it, as in /default/*.'
    segments.pop()
  }
  for (const segment of segments) {
    if (segment === '*') return 'Only the last part may be *.'
    if (!segment) return 'A part is empty: write one slash between parts.'
    if (segment.length > 50) return `A part has ${segment.length} characters: at most 50 are allowed.`
    if (!SEGMENT.test(segment)) return `"${segment}" may hold only letters, digits and dashes, no dash at either end.`
  }
  return null
}
