{{/* The spec of a claim. */}}
{{- define "lighterage.claim" -}}
spec:
  accessModes: [{{ .Values.storage.accessMode }}]
  {{- if kindIs "string" .Values.storage.className }}
  storageClassName: {{ .Values.storage.className | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .Values.storage.size }}
{{- end -}}
